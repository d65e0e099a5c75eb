#pragma once
/* Which nearfar this is: the release, and the revision of the source it was built from. */

/* "0.1.0+1f2e3d4c5b6a"; "+unknown" until a program has said which revision it is. Static storage. */
const char *nf_version(void);
/* The program's own, said once, before anything asks: the libraries are not built again for each. */
void nf_version_revision(const char *revision);
