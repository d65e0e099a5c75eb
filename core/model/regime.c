#include "core/model/regime.h"

nf_regime nf_regime_pack(const struct nf_regime_parts *p)
{
    return (nf_regime)NF_REGIME_VERSION << 60 | (nf_regime)p->job << 44 | (nf_regime)p->phase << 36 |
           (nf_regime)(p->layer_group & 0xfff) << 24 | (nf_regime)p->step_class << 16 |
           (nf_regime)p->microbatch_class << 8 | p->user;
}

struct nf_regime_parts nf_regime_unpack(nf_regime id)
{
    return (struct nf_regime_parts){
        .job = (uint16_t)(id >> 44),
        .phase = (uint8_t)(id >> 36),
        .layer_group = (uint16_t)(id >> 24 & 0xfff),
        .step_class = (uint8_t)(id >> 16),
        .microbatch_class = (uint8_t)(id >> 8),
        .user = (uint8_t)id,
    };
}

nf_regime nf_regime_prefix(nf_regime id, unsigned level)
{
    static const uint64_t mask[NF_REGIME_LEVELS] = {
        0,           ~0ull << 44, ~0ull << 36, ~0ull << 24, ~0ull << 16, ~0ull << 8, ~0ull,
    };
    return id & mask[level < NF_REGIME_LEVELS ? level : NF_REGIME_LEVELS - 1];
}
