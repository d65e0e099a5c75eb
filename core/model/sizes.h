#pragma once
/* Sizes that everything that places memory agrees on. */

enum {
    NF_PAGE_BYTES = 4096, /* of every ledger, whatever the machine's pages are */
    NF_LINE_BYTES = 64,
    NF_TIER_MAX = 8,
};
