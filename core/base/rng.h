#pragma once
/* Seeded random numbers (splitmix64) and 64-bit hashing. Same seed, same numbers, on every machine. */
#include <stddef.h>
#include <stdint.h>

struct nf_rng {
    uint64_t state;
};

/* Full-avalanche finaliser of splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t nf_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline uint64_t nf_rng_next(struct nf_rng *r)
{
    return nf_mix64(r->state += 0x9e3779b97f4a7c15ull);
}

__extension__ typedef unsigned __int128 nf_u128;

/* Uniform in [0, n); n > 0. Lemire's multiply-shift; the bias is below n / 2^64. */
static inline uint64_t nf_rng_below(struct nf_rng *r, uint64_t n)
{
    return (uint64_t)(((nf_u128)nf_rng_next(r) * n) >> 64);
}

/* Order-dependent combination of a running hash with one more value. */
static inline uint64_t nf_hash_add(uint64_t h, uint64_t v)
{
    return nf_mix64(h * 0x9e3779b97f4a7c15ull + v + 0x632be59bd9b4e019ull);
}

/* 64-bit hash of a byte string (not cryptographic). */
uint64_t nf_hash_bytes(const void *data, size_t n);
