"""What a job states of its visits reaches the replay: a gather of known parallelism is charged by it, and one that is fetched twice is
walked twice."""
import subprocess

from system import SOURCE, WORK, check, finish, nearfar, rows

ROW, ROWS, STEPS = 256, 4096, 4
(WORK / 'job.c').write_text(f"""
#include "nearfar_annotate.h"
int main(void)
{{
    size_t bytes = {ROW} * {ROWS} * 2;
    char *table = nf_annotate_alloc(bytes), *other = nf_annotate_alloc(bytes);

    memset(table, 1, bytes);
    memset(other, 1, bytes);
    nf_annotate_tensor(table, bytes, "table", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    nf_annotate_tensor(other, bytes, "other", NF_ANNOTATE_INPUT, "uint8", NULL);
    nf_annotate_begin_training(1);
    for (int step = 0; step < {STEPS}; step++) {{
        nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
        nf_annotate_op_begin("my::gather");
        nf_annotate_visit_runs(table, 0, bytes / 2, {ROW}, 2 * {ROW}, NF_ANNOTATE_READ, NF_ANNOTATE_GATHER);
        nf_annotate_known(2, 4);
        nf_annotate_op_end();
        nf_annotate_op_begin("my::read");
        nf_annotate_visit(other, 0, bytes, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM);
        nf_annotate_op_end();
        nf_annotate_step();
    }}
}}
""")
subprocess.run(['gcc', '-std=gnu11', '-O1', '-I', SOURCE / 'capture/annotate', WORK / 'job.c', '-o', WORK / 'job', '-ldl', '-lpthread'], check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', WORK / 'job')
check(done.returncode == 0, f'captured: {done.stderr[-300:]!r}')
stated = nearfar('sql', 'job.nf', 'SELECT DISTINCT pattern, touches, parallelism FROM visits() ORDER BY pattern', '--csv').stdout.split()
check(sorted(stated[1:]) == ['gather,2,4', 'stream,1,unknown'], f'what was stated, and of what was not nothing: {stated}')

done = nearfar('replay', '-q', 'job.nf', '--policy', 'all-far', '--policy', 'interleave', '--near', '50%', '--mode', 'asap', '--blocks', '1', '--steps', '1', '--llc', '64KiB')
check(done.returncode == 0, f'replayed: {done.stderr[-300:]!r}')
half = ROW * ROWS
for policy, read, share in rows('job.nf', 'SELECT policy, sum(read_bytes), assumed_k_share FROM trial JOIN trial_tier ON trial_id = trial.id '
                                          'GROUP BY trial.id'):
    check(read == 2 * half + 2 * half, f'{policy}: walked twice and once: {read} bytes')
    if policy == 'all-far':
        check(0.45 < share < 0.55, f'{policy}: half of the bytes are charged with an assumed parallelism: {share}')
finish()
