#pragma once
/* The program's code as memory. */

/* Maps in the code of the program and of its libraries, so that nothing of it that runs for the first time faults
 * afterwards; a page that is given up again since, faults again. Needs madvise(MADV_POPULATE_READ), Linux 5.14; does
 * nothing on older kernels. For a measurement whose page faults count. Thread-safe. */
void nf_text_fetch(void);
