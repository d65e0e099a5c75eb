#include "analyze/validate.h"

#include <errno.h>

#include "core/base/error.h"

/* Evidence 3 is emulated-machine, 4 injected-delay (core/model/words.h). */
const struct nf_rule nf_rules[] = {
    {"capture",
     "a job was captured",
     "SELECT 'the study holds no capture' WHERE NOT EXISTS(SELECT 1 FROM capture)",
     "nearfar capture -o STUDY -- JOB"},
    {"capture-complete",
     "every capture ran to its end",
     "SELECT 'capture ' || id || ' is ' || status || CASE message WHEN '' THEN '' ELSE ': ' || message END FROM "
     "capture WHERE status != 'complete'",
     "capture the job again"},
    {"capture-lost",
     "at most one event in a hundred was lost",
     "SELECT 'pass ' || id || ' of capture ' || capture_id || ' lost ' || lost_events || ' of ' || (events + "
     "lost_events) || ' events' FROM pass WHERE lost_events * 100 > events + lost_events",
     "capture again, with less beside it on the machine"},
    {"capture-attributed",
     "what was visited belongs to known tensors",
     "SELECT 'pass ' || id || ': ' || unattributed_visits || ' visits of unknown memory' FROM pass WHERE "
     "unattributed_visits > 0",
     "see nearfar show STUDY audit"},
    {"parameters",
     "every pass trained the same parameters",
     "SELECT 'capture ' || capture_id || ': its passes ended with ' || count(DISTINCT parameter_sha256) || ' "
     "different sets of parameters' FROM pass WHERE parameter_sha256 != 'unknown' GROUP BY capture_id HAVING "
     "count(DISTINCT parameter_sha256) > 1",
     "make the job deterministic (seeds, algorithms), or say that it is not"},
    {"machine",
     "the machine is described, unknown facts by the word",
     "SELECT 'machine ' || id || ': ' || CASE WHEN host = '' THEN 'host' WHEN cpu = '' THEN 'cpu' WHEN kernel = '' "
     "THEN 'kernel' ELSE 'hypervisor' END || ' is empty' FROM machine WHERE '' IN (host, cpu, kernel, hypervisor)",
     "the program that wrote it is broken: report it"},
    {"provenance",
     "every command is recorded with the version that ran it",
     "SELECT 'invocation ' || id || ' has no version or no command' FROM invocation WHERE tool_version = '' OR NOT "
     "json_valid(command) OR json_array_length(command) = 0",
     "the program that wrote it is broken: report it"},
    {"replay",
     "the capture was replayed",
     "SELECT 'the study holds no replay' WHERE NOT EXISTS(SELECT 1 FROM replay)",
     "nearfar replay STUDY"},
    {"replay-complete",
     "every replay ran to its end, or to its stop rule",
     "SELECT 'replay ' || id || ' is ' || status || ': ' || (SELECT count(*) FROM trial WHERE replay_id = replay.id) "
     "|| ' of ' || planned_trials || ' trials' FROM replay WHERE status != 'complete'",
     "nearfar replay STUDY --resume"},
    {"blocks",
     "at least five counted blocks",
     "SELECT 'replay ' || replay_id || ': ' || policy || ' at ' || round(100 * near_share) || ' % near has ' || "
     "count(*) || ' good trials' FROM trial WHERE status = 'ok' AND variant = '' AND cold = 0 AND background = '' "
     "AND hog = 0 GROUP BY replay_id, policy, policy_options, near_share, overlap, parallelism_scale HAVING count(*) "
     "< 5",
     "nearfar replay STUDY --blocks 5"},
    {"blocks-for-comparison",
     "at least ten for a comparison of policies",
     "SELECT 'replay ' || replay_id || ' compares ' || count(DISTINCT policy || policy_options) || ' policies over ' "
     "|| count(DISTINCT block) || ' blocks' FROM trial WHERE status = 'ok' AND parallelism_scale = 1 AND variant = "
     "'' GROUP BY replay_id HAVING count(DISTINCT policy || policy_options) > 1 AND count(DISTINCT block) < 10",
     "nearfar replay STUDY --blocks 10, or publish no comparison"},
    {"captures",
     "at least three captures for a general claim",
     "SELECT 'the study holds ' || count(*) || CASE count(*) WHEN 1 THEN ' capture' ELSE ' captures' END FROM "
     "capture HAVING count(*) BETWEEN 1 AND 2",
     "capture the job with other seeds, or claim nothing beyond this run"},
    {"warm-up",
     "steps before the counted ones, unless the trial is a cold one",
     "SELECT 'trial ' || id || ' of replay ' || replay_id || ' counted from its first step' FROM trial WHERE "
     "warmup_steps = 0 AND cold = 0 AND status != 'failed'",
     "replay again"},
    {"trials-good",
     "no trial failed or was unsteady",
     "SELECT 'trial ' || id || ' (' || policy || ', block ' || block || ') is ' || status || ': ' || message FROM "
     "trial WHERE status != 'ok'",
     "mend the cause and replay again, or list them in the publication"},
    {"step-times",
     "a trial's steps add up to its time",
     "SELECT 'trial ' || id || ': ' || steps || ' steps of ' || coalesce((SELECT sum(value) FROM "
     "json_each(step_ns)), 0) || ' ns in all, ' || wall_ns || ' ns measured' FROM trial WHERE status != 'failed' AND "
     "(NOT json_valid(step_ns) OR json_array_length(step_ns) != steps OR abs((SELECT sum(value) FROM "
     "json_each(step_ns)) - wall_ns) > 0.01 * wall_ns)",
     "the row was changed, or the program is broken"},
    {"near-capacity",
     "no policy used more near memory than it was given",
     "SELECT 'trial ' || t.id || ' (' || t.policy || ') had ' || tt.peak_bytes || ' bytes near of ' || t.near_bytes "
     "FROM trial t JOIN trial_tier tt ON tt.trial_id = t.id AND tt.tier_number = 0 WHERE t.policy != 'all-near' AND "
     "t.status = 'ok' AND tt.peak_bytes > t.near_bytes",
     "the row was changed, or the pool is broken: report it"},
    {"evidence",
     "every number says how it came to be",
     "SELECT 'trial ' || id || ' has no evidence' FROM trial WHERE evidence = 0 UNION ALL SELECT 'tier ' || name || "
     "' of testbed ' || testbed_id || ' has no evidence' FROM tier WHERE evidence = 0 UNION ALL SELECT 'live run ' "
     "|| id || ' has no evidence' FROM live_run WHERE evidence = 0",
     "the row was changed, or the program is broken"},
    {"no-emulated-machine",
     "nothing on a curve was measured on an emulated machine",
     "SELECT 'replay ' || replay_id || ': ' || count(*) || ' trials ran on an emulated machine' FROM trial WHERE "
     "evidence = 3 GROUP BY replay_id",
     "such trials show that things work, not how fast: replay on a real machine"},
    {"tiers-measured",
     "every tier's latency and bandwidth was measured",
     "SELECT 'tier ' || name || ' of testbed ' || testbed_id || ' was not measured' FROM tier WHERE latency_ns <= 0 "
     "OR read_bps <= 0",
     "nearfar replay STUDY without --reuse-testbed"},
    {"tier-samples",
     "every tier's numbers keep their raw runs",
     "SELECT 'tier ' || t.name || ' of testbed ' || t.testbed_id || ' keeps ' || count(s.id) || ' runs of its "
     "latency' FROM tier t LEFT JOIN tier_sample s ON s.testbed_id = t.testbed_id AND s.tier_number = t.number AND "
     "s.what = 'chase' GROUP BY t.id HAVING count(s.id) < 9",
     "nearfar replay STUDY without --reuse-testbed"},
    {"environment",
     "every trial says the machine's state before and after",
     "SELECT 'trial ' || id || ' does not say the state of the machine' FROM trial WHERE NOT json_valid(before) OR "
     "NOT json_valid(after) OR json_extract(before, '$.governor') IS NULL OR json_extract(after, '$.governor') IS "
     "NULL",
     "replay again: it was written by an older nearfar"},
    {"environment-steady",
     "the machine's settings were the same throughout a replay",
     "SELECT 'replay ' || replay_id || ': ' || k.value || ' was ' || group_concat(DISTINCT json_extract(t.before, "
     "'$.' || k.value)) FROM trial t, "
     "json_each('[\"governor\",\"no_turbo\",\"boost\",\"smt\",\"thp\",\"numa_balancing\",\"demotion\",\"microcode\",\"prefetchers\",\"kernel\"]') "
     "k WHERE json_valid(t.before) GROUP BY replay_id, k.value HAVING count(DISTINCT json_extract(t.before, '$.' || "
     "k.value)) > 1",
     "keep the settings and replay again"},
    {"undisturbed",
     "at most one trial in ten was disturbed",
     "SELECT 'replay ' || replay_id || ': ' || sum(interference != '') || ' of ' || count(*) || ' trials were "
     "disturbed, the first: ' || (SELECT interference FROM trial u WHERE u.replay_id = t.replay_id AND interference "
     "!= '' ORDER BY id LIMIT 1) FROM trial t GROUP BY replay_id HAVING sum(interference != '') * 10 > count(*)",
     "replay on a quiet machine (--dry-run says what disturbs), or publish the marks"},
    {"not-despite",
     "nothing that makes figures wrong was gone on with",
     "SELECT 'replay ' || replay_id || ': ' || count(*) || ' trials were made despite ' || despite FROM trial WHERE despite != '' "
     "GROUP BY replay_id, despite",
     "mend it (nearfar replay STUDY --dry-run says how) and replay again"},
    {"placement-proved",
     "the placement of every page was proved",
     "SELECT 'trial ' || id || ' never proved its placement' FROM trial WHERE status = 'ok' AND proofs = 0",
     "replay again"},
    {"no-page-faults",
     "no page was faulted in the counted steps",
     "SELECT 'trial ' || id || ': ' || page_faults || ' page faults' FROM trial WHERE page_faults > 0",
     "replay with more free memory"},
    {"footprint",
     "peak live is at least four times the effective last-level cache",
     "SELECT 'replay ' || r.id || ': peak live is ' || r.peak_live_bytes || ' bytes, the cache has ' || "
     "t.llc_effective_bytes FROM replay r JOIN testbed t ON t.id = r.testbed_id WHERE r.peak_live_bytes < 4 * "
     "t.llc_effective_bytes",
     "capture a larger job, or title the figure LLC-resident"},
    {"deadlines",
     "deadlines were kept",
     "SELECT 'trial ' || id || ' (' || policy || ', overlap full) missed them throughout' FROM trial WHERE saturated "
     "= 1 AND policy = 'all-near'",
     "a machine this slow cannot pace this capture: its band has one side only"},
    {"floored",
     "compute time that came out negative is a small share",
     "SELECT 'replay ' || replay_id || ': ' || round(100 * max(floored_share), 1) || ' % of the captured time is in "
     "ops whose accesses alone took longer here' FROM trial GROUP BY replay_id HAVING max(floored_share) > 0.1",
     "replay on a machine as fast as the captured one, or say so"},
    {"sensitivity",
     "injected curves are repeated at half and twice the assumed parallelism",
     "SELECT 'replay ' || t.replay_id || ' assumes the parallelism of ' || round(100 * max(t.assumed_k_share)) || ' "
     "% of its far bytes, and its capture has no replay at ' || k.value || ' times it' FROM trial t JOIN replay r ON "
     "r.id = t.replay_id, json_each('[0.5,2]') k WHERE t.evidence = 4 AND t.parallelism_scale = 1 AND t.variant = '' "
     "AND NOT EXISTS(SELECT 1 FROM trial u JOIN replay v ON v.id = u.replay_id WHERE v.capture_id = r.capture_id AND "
     "u.parallelism_scale = k.value) GROUP BY t.replay_id, k.value HAVING max(t.assumed_k_share) > 0",
     "nearfar replay STUDY --sensitivity"},
    {"fidelity",
     "a prediction that nothing was fitted to was held against the real job",
     "SELECT 'capture ' || c.id || ' has no live run beside a hog or bound to a tier' FROM capture c WHERE "
     "EXISTS(SELECT 1 FROM replay WHERE capture_id = c.id) AND NOT EXISTS(SELECT 1 FROM live_run WHERE capture_id = "
     "c.id AND kind != 'alone')",
     "nearfar run STUDY --hog -- JOB, and nearfar replay STUDY --hog"},
    {"recapture",
     "a replay that was captured again did what its capture says",
     "SELECT 'capture ' || capture_id || ', watched by ' || source || iif(policy = 'all-near', '', ' under ' || policy) || ': ' || (tensors - same_extents) || ' of ' || tensors || ' "
     "tensors differ, ' || lost_bytes || ' bytes lost, ' || stray_bytes || ' stray, ' || lost_samples || ' samples lost; ' || worst "
     "FROM recapture r WHERE id = (SELECT max(id) FROM recapture WHERE capture_id = r.capture_id AND source = r.source AND policy = r.policy AND "
     "near_share = r.near_share) AND "
     "(same_extents < tensors OR lost_bytes > 0 OR stray_bytes > 0 OR lost_samples > 0 OR unattributed > 0 OR equal_steps < steps)",
     "nothing it measured can be believed: report it with the study"},
    {"live-runs",
     "every live run ended well",
     "SELECT 'live run ' || id || ' (' || kind || ') ended with exit status ' || exit_status FROM live_run WHERE "
     "exit_status != 0",
     "run it again"},
    {"live-parameters",
     "live runs trained the captured parameters",
     "SELECT 'capture ' || l.capture_id || ': live runs ended with other parameters than the capture' FROM live_run "
     "l WHERE l.parameter_sha256 != 'unknown' AND EXISTS(SELECT 1 FROM pass WHERE capture_id = l.capture_id AND "
     "parameter_sha256 != 'unknown') AND l.parameter_sha256 NOT IN (SELECT parameter_sha256 FROM pass WHERE "
     "capture_id = l.capture_id) GROUP BY l.capture_id",
     "run the job with the options it was captured with"},
    {"counters",
     "hardware counters agree with the replay's own bytes within a tenth",
     "SELECT 'trial ' || trial_id || ', tier ' || tier_number || ': ' || counter_read_bytes || ' bytes read by the "
     "counters, ' || (read_bytes + moved_out_bytes) || ' by the replay' FROM trial_tier JOIN trial t ON t.id = trial_id WHERE "
     "counter_read_bytes >= 0 AND (counter_read_bytes < 0.9 * (read_bytes + moved_out_bytes) OR counter_read_bytes > 1.1 * "
     "(read_bytes + moved_out_bytes + CASE t.store WHEN 'non-temporal' THEN 0 ELSE write_bytes + moved_in_bytes END)) UNION "
     "ALL SELECT 'trial ' || trial_id || ', tier ' || tier_number || ': ' || counter_write_bytes || ' bytes written by the "
     "counters, ' || (write_bytes + moved_in_bytes) || ' by the replay' FROM trial_tier WHERE counter_write_bytes >= 0 AND "
     "abs(counter_write_bytes - write_bytes - moved_in_bytes) > 0.1 * (write_bytes + moved_in_bytes)",
     "somebody else used the tier, or the caches held what was to be far"},
    {0},
};

const struct nf_column nf_validate_columns[NF_VALIDATE_COLUMNS] = {
    {"rule", "rule", NF_COLUMN_TEXT},
    {"found", "found", NF_COLUMN_TEXT},
    {"wanted", "wanted", NF_COLUMN_TEXT},
    {"mend", "what to do", NF_COLUMN_TEXT},
};

int nf_validate(struct nf_study *s, struct nf_table *t, size_t *broken, size_t *rules)
{
    *broken = *rules = 0;
    for (const struct nf_rule *r = nf_rules; r->name; r++) {
        struct nf_query *q;
        bool breached = false;
        int rc = nf_study_query(s, r->sql, &q);

        if (rc)
            return nf_fail_in(rc, "rule %s", r->name);
        while ((rc = nf_query_step(q)) == 1) {
            nf_table_text(t, r->name);
            nf_table_text(t, nf_query_text(q, 0));
            nf_table_text(t, r->about);
            nf_table_text(t, r->mend);
            breached = true;
        }
        nf_query_done(q);
        if (rc)
            return nf_fail_in(rc, "rule %s", r->name);
        *broken += breached;
        ++*rules;
    }
    return 0;
}
