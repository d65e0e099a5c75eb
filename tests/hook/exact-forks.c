/* A job that forks in the middle of an op: the child writes all over its copy of the tensor, annotates and allocates, and
 * none of it is the job's. Prints what each op touches as examples/kernels.c does; exits 1 when the child's writes show. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nearfar_annotate.h"

enum { BYTES = 8192, PART = 100 };

static volatile unsigned char *data;

static void fill(unsigned from, unsigned n, unsigned char value)
{
    for (unsigned i = from; i < from + n; i++)
        data[i] = value;
}

static int child(void)
{
    fill(0, BYTES, 7);
    nf_annotate_op_end();
    nf_annotate_step();
    nf_annotate_free(nf_annotate_alloc(BYTES));
    return data[5] != 7;
}

int main(void)
{
    nf_annotate_begin();
    data = nf_annotate_alloc(BYTES);
    if (!data)
        return 1;
    nf_annotate_tensor((void *)data, BYTES, "data", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    fill(0, BYTES, 0);
    nf_annotate_begin_training(1);
    for (unsigned step = 0; step < 3; step++) {
        pid_t pid;
        int status;

        nf_annotate_op_begin("forks");
        fill(0, PART, 1);
        fflush(stdout);
        pid = fork();
        if (pid == 0)
            _exit(child());
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status || data[5] != 1)
            return 1;
        fill(PART, PART, 1);
        nf_annotate_op_end();
        printf("forks data read 1 1 1\nforks data write %d %d %d\n", 2 * PART, 2 * PART, 2 * PART);
        nf_annotate_step();
    }
    return 0;
}
