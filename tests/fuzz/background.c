/* What --background is given: whatever is accepted makes sense. */
#include <stdlib.h>
#include <string.h>

#include "replay/background.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_background_spec specs[NF_BACKGROUND_MAX];
    char *text = malloc(size + 1);
    size_t n;

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (!nf_background_parse(text, specs, NF_BACKGROUND_MAX, &n)) {
        if (!n || n > NF_BACKGROUND_MAX)
            abort();
        for (size_t i = 0; i < n; i++) {
            const struct nf_background_spec *s = &specs[i];

            if (!(s->share >= 0 && s->share <= 1) || (s->share > 0 && s->bps) || s->kind >= NF_BACKGROUND_KINDS)
                abort();
            if (!*s->tier || !memchr(s->tier, '\0', sizeof s->tier))
                abort();
        }
    }
    free(text);
    return 0;
}
