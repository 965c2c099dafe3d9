/* test_order.c: the order of rows, with keys of so few bits that many are equal, against a plain sort. */
#include "check.h"

#define pn_order order_of_rows /* beside the library's own */
#include "../../csrc/order.c"

#include <stdlib.h>
#include <string.h>

CHECK_PROGRAM

typedef struct drawn {
    uint64_t number;
    int64_t row;
} drawn;
static int before(const void *a, const void *b) {
    const drawn *x = a, *y = b;
    if (x->number != y->number) return x->number > y->number ? 1 : -1;
    return x->row > y->row ? 1 : -1;
}

int main(void) {
    enum { MOST = 100, LEAST_BITS = 7, MOST_BITS = 62 }; /* that hold a row: more than it needs */
    static drawn plain[MOST];
    static uint64_t keys[MOST], scratch[MOST];
    long equal = 0,
         of_the_first = 0; /* neighbours whose keys are, in the order opposite to that of their rows; row 0 */
    for (uint32_t epoch = 0; epoch < 400; epoch++) {
        const stream s = {epoch % 2 ? 1ull << 40 | epoch : epoch, 2, epoch};
        const int bits = LEAST_BITS + (int)(epoch % (MOST_BITS - LEAST_BITS + 1));
        const int n = (int)(epoch % 10 ? MOST : epoch % 7);
        const uint64_t rows = ((uint64_t)1 << bits) - 1;
        for (int i = 0; i < n; i++) plain[i] = (drawn){number_of(&s, (uint64_t)i), i};
        qsort(plain, (size_t)n, sizeof *plain, before);
        in_order(&s, n, rows, keys, scratch);
        AT("%d rows, of %d bits, epoch %d", n, bits, (int)epoch);
        for (int i = 0; i < n; i++) CHECK(keys[i] == (uint64_t)plain[i].row);
        for (int i = 1; i < n; i++) {
            if ((plain[i - 1].number | rows) != (plain[i].number | rows) || plain[i - 1].row < plain[i].row) continue;
            equal++;
            of_the_first += plain[i].row == 0;
        }
    }
    CHECK(equal > 1000 && of_the_first > 20);
    return verdict("test_order", 30000);
}
