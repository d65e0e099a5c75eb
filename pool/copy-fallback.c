#include "pool/copy.h"

#include <string.h>

const bool nf_copy_fetches_destination = true;

void nf_copy_pages(char *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}
