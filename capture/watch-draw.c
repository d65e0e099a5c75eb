#include "capture/watch-draw.h"

/* Of a storage with a single word, two cannot be drawn; this many attempts find a second one where there is any to speak
 * of. */
enum { ATTEMPTS = 16 };

static uint64_t first_word(const struct nf_storage *s)
{
    return (s->address + NF_WATCH_WORD_BYTES - 1) / NF_WATCH_WORD_BYTES;
}

static uint64_t words_of(const struct nf_storage *s, uint64_t min_bytes)
{
    uint64_t first = first_word(s), end = (s->address + s->bytes) / NF_WATCH_WORD_BYTES;

    return s->bytes >= min_bytes && end > first ? end - first : 0;
}

static bool is_new(const struct nf_watch_word *words, size_t n, uint64_t address)
{
    for (size_t i = 0; i < n; i++)
        if (words[i].address == address)
            return false;
    return true;
}

size_t nf_watch_draw(struct nf_rng *rng, const struct nf_watch_draw_options *o, const struct nf_storage_map *live,
                     struct nf_watch_word *out, size_t wanted)
{
    uint64_t total = 0;
    size_t n = 0;

    for (size_t i = 0; i < live->live.n; i++) {
        uint64_t words = words_of(live->live.v[i], o->min_bytes);

        total += o->by_tensor ? words > 0 : words;
    }
    for (unsigned attempt = 0; total && n < wanted && attempt < ATTEMPTS; attempt++) {
        uint64_t left = nf_rng_below(rng, total);

        for (size_t i = 0; i < live->live.n; i++) {
            const struct nf_storage *s = live->live.v[i];
            uint64_t words = words_of(s, o->min_bytes), weight = o->by_tensor ? words > 0 : words;

            if (left >= weight) {
                left -= weight;
                continue;
            }
            left = first_word(s) + (o->by_tensor ? nf_rng_below(rng, words) : left);
            if (is_new(out, n, left * NF_WATCH_WORD_BYTES))
                out[n++] = (struct nf_watch_word){left * NF_WATCH_WORD_BYTES, s->address, s->bytes};
            break;
        }
    }
    return n;
}
