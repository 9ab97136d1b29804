/* Where a Cortex-M begins: its stack, and newlib's own start, which takes the arguments from the host by semihosting.
   arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb -O1 --specs=rdimon.specs -Wl,--section-start=.vectors=0 device.c cortex_m.c */
extern void _start(void);
__attribute__((section(".vectors"), used)) static void *const vectors[] = {(void *)0x00400000, (void *)_start};
