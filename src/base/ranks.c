/* ranks.c - tests by ranks and the intervals that belong to them (stats.h).
 *
 * Both tests count: of the means of all pairs of values (signed ranks), or of all differences between the sides
 * (rank sum), how many lie above the place in question.  Sorted values let two fingers count them in linear time, and
 * halving finds the k-th smallest of them without making the list. */
#include "stats.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base.h"

enum { MOST_EXACT = 1830 }; /* largest sum whose law is computed exactly: 60 signed ranks */

/* How the count is distributed where there is no difference: from 0 to `most`, symmetric. */
struct law {
    bool exact;
    double most, deviation;
    double at[MOST_EXACT + 1]; /* exact: the chance of each count */
};

static double normal_below(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

/* The chance of t or less.  A half (a tie) goes to the next whole number, on the safe side. */
static double law_at_most(const struct law *law, double t)
{
    if (t >= law->most) return 1;
    if (!law->exact) return law->deviation > 0 ? normal_below((t + 0.5 - law->most / 2) / law->deviation) : 1;
    double sum = 0;
    for (size_t i = 0; i <= (size_t)ceil(t); i++) sum += law->at[i];
    return MIN(sum, 1.0);
}

/* Each rank goes up or down: the product of (1 + x^i) / 2. */
static void law_of_signed_rank(struct law *law, size_t n)
{
    double most = (double)n * (double)(n + 1) / 2;
    *law = (struct law){.most = most, .deviation = sqrt(most * (2.0 * (double)n + 1) / 12),
                        .exact = most <= MOST_EXACT};
    if (!law->exact) return;
    law->at[0] = 1;
    for (size_t i = 1, top = 0; i <= n; i++) {
        top += i;
        for (size_t s = top + 1; s-- > 0;) law->at[s] = (law->at[s] + (s >= i ? law->at[s - i] : 0)) / 2;
    }
}

/* The Gaussian binomial coefficient: the product of (1 - x^(b + i)) / (1 - x^i), brought to a sum of one as it
 * grows. */
static void law_of_rank_sum(struct law *law, size_t n_a, size_t n_b, double ties)
{
    double n = (double)(n_a + n_b), product = (double)n_a * (double)n_b;
    double spread = n + 1 - (n > 1 ? ties / (n * (n - 1)) : 0);
    *law = (struct law){.most = product, .deviation = sqrt(MAX(product * spread / 12, 0.0)),
                        .exact = ties == 0 && product <= MOST_EXACT};
    if (!law->exact) return;
    law->at[0] = 1;
    size_t most = n_a * n_b;
    for (size_t i = 1; i <= n_a; i++) {
        for (size_t s = most + 1; s-- > n_b + i;) law->at[s] -= law->at[s - n_b - i];
        for (size_t s = i; s <= most; s++) law->at[s] += law->at[s - i];
        for (size_t s = 0; s <= most; s++) law->at[s] *= (double)i / (double)(n_b + i);
    }
}

/* How many of the smallest can be left out at either end of an interval; 0: there is none. */
static size_t law_left_out(const struct law *law, double probability)
{
    size_t low = 0, high = (size_t)(law->most / 2) + 1; /* low counts can be left out, high cannot */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (2 * law_at_most(law, (double)middle - 1) <= 1 - probability) low = middle;
        else high = middle;
    }
    return low;
}

/* ---- what is counted ------------------------------------------------------------------------- */

/* One sorted list, or two. */
struct pairs {
    const double *a, *b; /* b is NULL for the means of pairs of a */
    size_t n_a, n_b;
};

static size_t pairs_n(const struct pairs *p)
{
    return p->b ? p->n_a * p->n_b : p->n_a * (p->n_a + 1) / 2;
}

static size_t differences_below(const struct pairs *p, double place, bool or_equal)
{
    size_t n = 0, j = 0; /* j: how many of b are low enough, ever more as a grows */
    for (size_t i = 0; i < p->n_a; i++) {
        while (j < p->n_b && (or_equal ? p->b[j] - p->a[i] <= place : p->b[j] - p->a[i] < place)) j++;
        n += j;
    }
    return n;
}

static size_t means_below(const struct pairs *p, double place, bool or_equal)
{
    size_t n = 0, j = p->n_a; /* j: how many go with a[i], ever fewer as a grows */
    for (size_t i = 0; i < p->n_a; i++) {
        while (j > 0 && (or_equal ? (p->a[i] + p->a[j - 1]) / 2 > place : (p->a[i] + p->a[j - 1]) / 2 >= place)) j--;
        if (j <= i) break;
        n += j - i; /* each pair once: with itself and with those after it */
    }
    return n;
}

static size_t pairs_below(const struct pairs *p, double place, bool or_equal)
{
    return p->b ? differences_below(p, place, or_equal) : means_below(p, place, or_equal);
}

/* Finite numbers and whole ones in the same order. */
static uint64_t to_order(double x)
{
    uint64_t u;
    x += 0.0; /* one zero */
    memcpy(&u, &x, sizeof u);
    return u >> 63 ? ~u : u | (uint64_t)1 << 63;
}

static double from_order(uint64_t u)
{
    double x;
    u = u >> 63 ? u & ~((uint64_t)1 << 63) : ~u;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* The k-th smallest, from 0. */
static double pairs_kth(const struct pairs *p, size_t k)
{
    uint64_t low = to_order(-HUGE_VAL), high = to_order(HUGE_VAL); /* the least that k + 1 do not exceed */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (pairs_below(p, from_order(middle), true) > k) high = middle;
        else low = middle + 1;
    }
    return from_order(low);
}

static double pairs_median(const struct pairs *p)
{
    size_t n = pairs_n(p);
    if (n == 0) return NAN;
    double upper = pairs_kth(p, n / 2);
    return n % 2 ? upper : (pairs_kth(p, n / 2 - 1) + upper) / 2;
}

static struct stats_tails pairs_tails(const struct pairs *p, const struct law *law, double place)
{
    size_t under = pairs_below(p, place, false), not_over = pairs_below(p, place, true);
    double half = (double)(not_over - under) / 2;
    double above = (double)(pairs_n(p) - not_over) + half, below = (double)under + half;
    return (struct stats_tails){.below = law_at_most(law, above), .above = law_at_most(law, below)};
}

static bool pairs_interval(const struct pairs *p, const struct law *law, double probability, double *low, double *high)
{
    size_t left_out = law_left_out(law, probability);
    if (left_out == 0) return false;
    *low = pairs_kth(p, left_out - 1);
    *high = pairs_kth(p, pairs_n(p) - left_out);
    return true;
}

/* The sum of t^3 - t over groups of t equal values, when b is moved down by shift: for every value, how many others
 * equal it, in either list. */
static double count_ties(const struct pairs *p, double shift)
{
    double sum = 0;
    for (size_t side = 0; side < 2; side++) {
        const double *v = side ? p->b : p->a;
        size_t n = side ? p->n_b : p->n_a;
        for (size_t i = 0; i < n; i++) {
            double t = 0, x = side ? v[i] - shift : v[i];
            for (size_t j = 0; j < p->n_a; j++) t += p->a[j] == x;
            for (size_t j = 0; j < p->n_b; j++) t += p->b[j] - shift == x;
            sum += t * t - 1;
        }
    }
    return sum;
}

/* ---- the tests ------------------------------------------------------------------------------- */

struct stats_tails stats_signed_rank(const double *sorted, size_t n, double centre)
{
    struct law law;
    law_of_signed_rank(&law, n);
    return pairs_tails(&(struct pairs){.a = sorted, .n_a = n}, &law, centre);
}

struct stats_tails stats_rank_sum(const double *a, size_t n_a, const double *b, size_t n_b, double shift)
{
    struct pairs p = {a, b, n_a, n_b};
    struct law law;
    law_of_rank_sum(&law, n_a, n_b, count_ties(&p, shift));
    return pairs_tails(&p, &law, shift);
}

double stats_centre(const double *sorted, size_t n)
{
    return pairs_median(&(struct pairs){.a = sorted, .n_a = n});
}

bool stats_centre_interval(const double *sorted, size_t n, double probability, double *low, double *high)
{
    struct law law;
    law_of_signed_rank(&law, n);
    return pairs_interval(&(struct pairs){.a = sorted, .n_a = n}, &law, probability, low, high);
}

double stats_shift(const double *a, size_t n_a, const double *b, size_t n_b)
{
    return pairs_median(&(struct pairs){a, b, n_a, n_b});
}

bool stats_shift_interval(const double *a, size_t n_a, const double *b, size_t n_b, double probability,
                          double *low, double *high)
{
    struct pairs p = {a, b, n_a, n_b};
    struct law law;
    law_of_rank_sum(&law, n_a, n_b, 0);
    return pairs_interval(&p, &law, probability, low, high);
}

void stats_holm(const double *p, size_t n, double *adjusted)
{
    for (size_t i = 0; i < n; i++) {
        size_t before = 0; /* of those in order of p that come first */
        for (size_t j = 0; j < n; j++) before += p[j] < p[i] || (p[j] == p[i] && j < i);
        adjusted[i] = MIN(1.0, (double)(n - before) * p[i]);
    }
    for (size_t i = 0; i < n; i++) /* never below one that comes before */
        for (size_t j = 0; j < n; j++)
            if (p[j] <= p[i]) adjusted[i] = MAX(adjusted[i], adjusted[j]);
}
