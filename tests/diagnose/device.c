/* One fully connected layer in integers, as microcontroller libraries write it; one thing about it may be odd.
   usage: device LAYER QUIRK INPUT OUTPUT; LAYER holds int32: inputs, outputs, rows, input zero point, output zero point,
   multiplier, shift, then bias[outputs], then weights[outputs][inputs] as int32. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t read_int(FILE *f) {
  int32_t v;
  if (fread(&v, sizeof v, 1, f) != 1) {
    fprintf(stderr, "layer file is too short\n");
    exit(3);
  }
  return v;
}

static int32_t wrapped(int64_t v, int bits) {
  int64_t half = (int64_t)1 << (bits - 1);
  return (int32_t)(((v + half) & (2 * half - 1)) - half);
}

static int32_t limited(int64_t v, int64_t low, int64_t high) { return (int32_t)(v < low ? low : v > high ? high : v); }

static int32_t twice(int32_t acc, int32_t multiplier, int shift) {
  int32_t left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
  int32_t high = (int32_t)(((int64_t)(int32_t)((uint32_t)acc << left) * multiplier + (1LL << 30)) >> 31);
  int32_t mask = (int32_t)((1LL << right) - 1), rest = high & mask, half = (mask >> 1) + (high < 0);
  return (high >> right) + (rest > half);
}

static int32_t once(int32_t acc, int32_t multiplier, int shift) {
  return (int32_t)(((int64_t)acc * multiplier + (1LL << (30 - shift))) >> (31 - shift));
}

static int32_t floored(int32_t acc, int32_t multiplier, int shift) {
  return (int32_t)(((int64_t)acc * multiplier) >> (31 - shift));
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: device LAYER QUIRK INPUT OUTPUT\n");
    return 2;
  }
  const char *quirk = argv[2];
  FILE *f = fopen(argv[1], "rb"), *in = fopen(argv[3], "rb"), *out = fopen(argv[4], "wb");
  if (!f || !in || !out) {
    fprintf(stderr, "cannot open a file\n");
    return 4;
  }
  int n = read_int(f), m = read_int(f), rows = read_int(f), x_zero = read_int(f), y_zero = read_int(f);
  int32_t multiplier = read_int(f), shift = read_int(f);
  int32_t *bias = malloc(sizeof *bias * m), *weight = malloc(sizeof *weight * m * n);
  int8_t *x = malloc(n);
  for (int i = 0; i < m; i++) bias[i] = read_int(f);
  for (int i = 0; i < m * n; i++) weight[i] = read_int(f);
  for (int r = 0; r < rows; r++) {
    if (fread(x, 1, n, in) != (size_t)n) return 5;
    for (int i = 0; i < m; i++) {
      int64_t acc = 0;
      for (int k = 0; k < n; k++) {
        acc += (int64_t)(x[k] - (strcmp(quirk, "no-input-zero") ? x_zero : 0)) * weight[i * n + k];
        if (!strcmp(quirk, "saturate18")) acc = limited(acc, -(1 << 17), (1 << 17) - 1);
        if (!strcmp(quirk, "wrap16")) acc = wrapped(acc, 16);
      }
      if (strcmp(quirk, "no-bias")) acc += bias[i];
      if (!strcmp(quirk, "saturate18")) acc = limited(acc, -(1 << 17), (1 << 17) - 1);
      if (!strcmp(quirk, "wrap16")) acc = wrapped(acc, 16);
      int32_t v = !strcmp(quirk, "once")    ? once((int32_t)acc, multiplier, shift)
                  : !strcmp(quirk, "floor") ? floored((int32_t)acc, multiplier, shift)
                                            : twice((int32_t)acc, multiplier, shift);
      v += y_zero;
      int8_t y = (int8_t)(strcmp(quirk, "no-saturation") ? limited(v, -128, 127) : v);
      fwrite(&y, 1, 1, out);
    }
  }
  return fclose(out) ? 6 : 0;
}
