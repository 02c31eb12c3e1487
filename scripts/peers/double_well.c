/* The double well dx = -grad (x^2 - 1)^2 dt + amplitude dW by hand, in AVX-512: what a fused program can reach.
 *
 * Sixteen chains to a vector, four vectors at a time, all steps of them in registers; all cores through OpenMP.
 * Normals: threefry2x32 with 20 rounds (Salmon et al. 2011) of the counter (chain, pair of steps), then Box-Muller, the
 * cosine for the even step and the sine for the odd one. Logarithm, sine and cosine are the polynomials of Cephes.
 */
#include <immintrin.h>
#include <stdint.h>

#define WIDTH 16
#define VECTORS 4

typedef __m512 reals;
typedef __m512i words;

static inline reals constant(float value) { return _mm512_set1_ps(value); }
static inline words word(uint32_t value) { return _mm512_set1_epi32((int)value); }

#define ROUND(rotation)                                                                                                \
    x = _mm512_add_epi32(x, y);                                                                                        \
    y = _mm512_xor_si512(_mm512_rol_epi32(y, rotation), x);
#define GROUP(a, b, c, d) ROUND(a) ROUND(b) ROUND(c) ROUND(d)
#define INJECT(first, second, number)                                                                                  \
    x = _mm512_add_epi32(x, word(key[first]));                                                                         \
    y = _mm512_add_epi32(y, word(key[second] + number));

static inline void threefry(const uint32_t key[3], words *first, words *second) {
    words x = _mm512_add_epi32(*first, word(key[0])), y = _mm512_add_epi32(*second, word(key[1]));
    GROUP(13, 15, 26, 6)
    INJECT(1, 2, 1)
    GROUP(17, 29, 16, 24)
    INJECT(2, 0, 2)
    GROUP(13, 15, 26, 6)
    INJECT(0, 1, 3)
    GROUP(17, 29, 16, 24)
    INJECT(1, 2, 4)
    GROUP(13, 15, 26, 6)
    INJECT(2, 0, 5)
    *first = x;
    *second = y;
}

static inline reals chain_of_products(reals x, const float *coefficients, int count) {
    reals value = constant(coefficients[0]);
    for (int k = 1; k < count; k++)
        value = _mm512_fmadd_ps(value, x, constant(coefficients[k]));
    return value;
}

/* log of positive normal numbers: x = m 2^e, m in [3/4, 3/2) */
static inline reals logarithm(reals x) {
    static const float coefficients[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                                         -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                                         2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    reals mantissa = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero), exponent = _mm512_getexp_ps(x);
    __mmask16 is_upper = _mm512_cmp_ps_mask(mantissa, constant(1.0f), _CMP_LT_OQ);
    exponent = _mm512_mask_add_ps(exponent, is_upper, exponent, constant(1.0f));
    reals z = _mm512_sub_ps(mantissa, constant(1.0f)), square = _mm512_mul_ps(z, z);
    reals rest = _mm512_mul_ps(_mm512_mul_ps(square, z), chain_of_products(z, coefficients, 9));
    rest = _mm512_fnmadd_ps(square, constant(0.5f), rest);
    return _mm512_fmadd_ps(exponent, constant(0.693147180559945f), _mm512_add_ps(z, rest));
}

/* Two independent standard normals from two words of 32 bits; tails to 6.8. The angle: one of eight octants from the
 * lowest three bits, its place within the octant from the other 29. */
static inline void normals(words first, words second, reals *even, reals *odd) {
    static const float sines[] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
    static const float cosines[] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
    reals uniform = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepu32_ps(first), constant(0.5f)), constant(0x1p-32f));
    reals minus_two_logs = _mm512_mul_ps(logarithm(uniform), constant(-2.0f));
    reals radius = _mm512_sqrt_ps(_mm512_max_ps(minus_two_logs, constant(0.0f)));
    reals place = _mm512_cvtepu32_ps(_mm512_srli_epi32(second, 3));
    reals angle = _mm512_mul_ps(_mm512_add_ps(place, constant(0.5f)), constant(0.785398163397448f * 0x1p-29f));
    reals square = _mm512_mul_ps(angle, angle);
    reals sine = _mm512_mul_ps(square, chain_of_products(square, sines, 3));
    sine = _mm512_fmadd_ps(sine, angle, angle);
    reals cosine = _mm512_mul_ps(_mm512_mul_ps(square, square), chain_of_products(square, cosines, 3));
    cosine = _mm512_add_ps(_mm512_fnmadd_ps(square, constant(0.5f), constant(1.0f)), cosine);
    __mmask16 is_swapped = _mm512_test_epi32_mask(second, word(1));
    words sign = word(0x80000000u);
    words sign_even = _mm512_and_si512(_mm512_slli_epi32(second, 30), sign);
    words sign_odd = _mm512_and_si512(_mm512_slli_epi32(second, 29), sign);
    reals x = _mm512_mul_ps(radius, _mm512_mask_blend_ps(is_swapped, cosine, sine));
    reals y = _mm512_mul_ps(radius, _mm512_mask_blend_ps(is_swapped, sine, cosine));
    *even = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), sign_even));
    *odd = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(y), sign_odd));
}

/* x - 4 step x (x^2 - 1) + amplitude * normal */
static inline reals advance(reals x, reals normal, float step, float amplitude) {
    reals factor = _mm512_fnmadd_ps(_mm512_mul_ps(x, x), constant(4 * step), constant(1 + 4 * step));
    return _mm512_fmadd_ps(normal, constant(amplitude), _mm512_mul_ps(x, factor));
}

static inline __attribute__((always_inline)) void run(float *params, uint32_t first_chain, int count, long num_steps,
                                                      float step, float amplitude, const uint32_t key[3]) {
    reals x[VECTORS];
    words chains[VECTORS];
    const words lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int v = 0; v < count; v++) {
        x[v] = _mm512_loadu_ps(params + first_chain + v * WIDTH);
        chains[v] = _mm512_add_epi32(lanes, word(first_chain + v * WIDTH));
    }
    for (long t = 0; t < num_steps; t += 2) {
        const words pair = word((uint32_t)(t / 2));
        for (int v = 0; v < count; v++) {
            words first = chains[v], second = pair;
            reals even, odd;
            threefry(key, &first, &second);
            normals(first, second, &even, &odd);
            x[v] = advance(x[v], even, step, amplitude);
            if (t + 1 < num_steps)
                x[v] = advance(x[v], odd, step, amplitude);
        }
    }
    for (int v = 0; v < count; v++)
        _mm512_storeu_ps(params + first_chain + v * WIDTH, x[v]);
}

/* Advances params (num_chains, a multiple of 16) in place. */
void double_well(float *params, long num_chains, long num_steps, float step, float amplitude, uint32_t seed,
                 int num_threads) {
    const uint32_t key[3] = {seed, 0x9e3779b9u, seed ^ 0x9e3779b9u ^ 0x1bd11bdau};
    const long blocks = num_chains / (WIDTH * VECTORS);
#pragma omp parallel for schedule(static) num_threads(num_threads)
    for (long block = 0; block < blocks; block++)
        run(params, (uint32_t)(block * WIDTH * VECTORS), VECTORS, num_steps, step, amplitude, key);
    for (long chain = blocks * WIDTH * VECTORS; chain < num_chains; chain += WIDTH)
        run(params, (uint32_t)chain, 1, num_steps, step, amplitude, key);
}
