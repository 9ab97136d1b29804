// One fully connected layer in hardware: 24 inputs, 6 outputs; a 16-bit accumulator that wraps, rounding down.
// vvp -n device.vvp +in=INPUT.hex +weight=W.hex +bias=B.hex +out=OUTPUT.txt
module dense;
  reg signed [7:0] x [0:23]; reg signed [7:0] w [0:143]; reg signed [31:0] b [0:5];
  reg signed [15:0] acc; reg signed [31:0] v; integer i, k, f;
  reg [2047:0] xin, win, bin, yout;
  initial begin
    if (!$value$plusargs("in=%s", xin) || !$value$plusargs("weight=%s", win)) $finish;
    if (!$value$plusargs("bias=%s", bin) || !$value$plusargs("out=%s", yout)) $finish;
    $readmemh(xin, x); $readmemh(win, w); $readmemh(bin, b);
    f = $fopen(yout, "w");
    for (i = 0; i < 6; i = i + 1) begin
      acc = 0;
      for (k = 0; k < 24; k = k + 1) acc = acc + (x[k] - 11) * w[24*i+k];
      acc = acc + b[i];
      v = (acc >>> 9) - 7;               // scale 2^-9
      if (v > 127) v = 127; if (v < -128) v = -128;
      $fdisplay(f, "%0d", v);
    end
    $fclose(f); $finish;
  end
endmodule
