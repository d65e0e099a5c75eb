#pragma once
/* As git describes the source that this program was built from: "1f2e3d4c5b6a"; "-changed" behind it: files differed from that
 * revision; "unknown": built where there is no git. */
extern const char nf_revision[];
