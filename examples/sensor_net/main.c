/* What runs on the device: a window of samples in, a class out.  On the computer windows come from standard input, on a
 * microcontroller from its converter; nothing else changes.  No floats, no allocation, no library. */
#include <stdio.h>

#include "net.h"

/* The next window, its samples as the integers of the network; 0 at the end. */
static int read_window(int8_t q[NET_INPUT], int *truth) {
    unsigned i;
    if (scanf("%d", truth) != 1) return 0;
    for (i = 0; i < NET_INPUT; i++) {
        int sample;
        if (scanf("%d", &sample) != 1) return 0;
        q[i] = (int8_t)sample;
    }
    return 1;
}

int main(void) {
    static int8_t q[NET_INPUT];
    static int16_t y[NET_OUTPUT], memory[NET_MEMORY];
    int truth, found[NET_OUTPUT] = {0}, right = 0, windows = 0, k;
    if (net_selftest() != 0) {
        puts("the self-test failed: this file was compiled wrongly");
        return 1;
    }
    while (read_window(q, &truth)) {
        int answer;
        net_predict_q(q, y, memory);
        answer = (int)net_argmax(y, NET_OUTPUT);
        found[answer]++;
        right += answer == truth;
        windows++;
    }
    for (k = 0; k < NET_OUTPUT; k++) printf("%-10s %d\n", net_classes[k], found[k]);
    printf("%d of %d right\n", right, windows);
    return 0;
}
