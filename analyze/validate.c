#include "analyze/validate.h"

#include <errno.h>

#include "core/base/error.h"

/* Evidence 3 is emulated-machine, 4 injected-delay, 6 assumed (core/model/words.h). */

/* Trials of the curve itself: not those under contention, from empty caches, or with a factor changed. */
#define PLAIN(t) t ".variant = '' AND " t ".cold = 0 AND " t ".background = '' AND " t ".hog = 0"
/* What a point of a curve is, and the same point in other trials of the same capture on the same testbed. */
#define POINT "replay_id, policy, policy_options, near_share, overlap"
#define SAME_POINT "v.capture_id = r.capture_id AND v.testbed_id = r.testbed_id AND u.policy = t.policy AND u.policy_options = t.policy_options " \
                   "AND u.near_share = t.near_share AND u.overlap = t.overlap AND u.status = 'ok'"
/* A policy with its options, and the share. */
#define NAMED(t) t ".policy || iif(" t ".policy_options = '', '', ':' || " t ".policy_options) || ' at ' || round(100 * " t ".near_share) || ' % near'"
/* Facts that the state of the machine before and after a trial has to say, if only that they are unknown. */
#define STATE "json_each('[\"governor\",\"no_turbo\",\"boost\",\"smt\",\"microcode\",\"thp\",\"numa_balancing\",\"demotion\",\"load\",\"kernel\",\"prefetchers\"]') k"
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
    {"revision",
     "every command was run by a version whose source is known",
     "SELECT 'invocation ' || id || ' was run by ' || tool_version || iif(tool_version LIKE '%-changed', ', built from changed source', "
     "', which names no revision') FROM invocation WHERE tool_version LIKE '%-changed' OR tool_version LIKE '%+unknown' OR tool_version NOT "
     "LIKE '%+%'",
     "run it with a nearfar that was built from a committed revision"},
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
     "SELECT 'replay ' || t.replay_id || ': ' || " NAMED("t") " || ' has ' || sum(t.status = 'ok') || ' good trials' FROM trial t WHERE "
     PLAIN("t") " GROUP BY " POINT ", parallelism_scale HAVING sum(t.status = 'ok') < 5",
     "nearfar replay STUDY --blocks 5"},
    {"blocks-for-comparison",
     "at least ten for a comparison of policies, each with everything near beside it",
     "SELECT 'replay ' || t.replay_id || ': ' || " NAMED("t") " || ' has ' || t.n || ' of them' FROM (SELECT " POINT ", count(DISTINCT "
     "iif(a.status = 'ok' AND EXISTS(SELECT 1 FROM trial b WHERE b.replay_id = a.replay_id AND b.block = a.block AND b.overlap = a.overlap AND "
     "b.policy = 'all-near' AND b.status = 'ok' AND b.parallelism_scale = 1 AND " PLAIN("b") "), a.block, NULL)) AS n FROM trial a WHERE "
     PLAIN("a") " AND a.parallelism_scale = 1 GROUP BY " POINT ") t WHERE t.n < 10 AND (SELECT count(DISTINCT policy || ':' || policy_options) "
     "FROM trial c WHERE c.replay_id = t.replay_id AND " PLAIN("c") ") > 1",
     "nearfar replay STUDY --blocks 10, or publish no comparison"},
    {"captures",
     "at least three captures for a general claim",
     "SELECT 'the study holds ' || count(*) || CASE count(*) WHEN 1 THEN ' capture' ELSE ' captures' END FROM "
     "capture HAVING count(*) BETWEEN 1 AND 2",
     "capture the job with other seeds, or claim nothing beyond this run"},
    {"full-size",
     "the job was replayed at its size",
     "SELECT 'replay ' || id || ' is at ' || round(scale, 4) || ' of it' FROM replay WHERE scale != 1",
     "replay without --scale where memory allows it, or name the scale beside every figure"},
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
     "SELECT 'trial ' || t.id || ' does not say: ' || group_concat(k.value, ', ') FROM trial t, " STATE " WHERE iif(json_valid(t.before), "
     "json_extract(t.before, '$.' || k.value), NULL) IS NULL OR iif(json_valid(t.after), json_extract(t.after, '$.' || k.value), NULL) IS "
     "NULL GROUP BY t.id",
     "replay again: it was written by an older nearfar"},
    {"environment-steady",
     "the machine's settings were the same throughout a replay",
     "SELECT 'replay ' || t.replay_id || ': ' || k.value || ' was ' || group_concat(DISTINCT json_extract(t.state, '$.' || k.value)) FROM "
     "(SELECT replay_id, before AS state FROM trial UNION ALL SELECT replay_id, after FROM trial) t, " STATE " WHERE json_valid(t.state) AND "
     "k.value != 'load' GROUP BY t.replay_id, k.value HAVING count(DISTINCT json_extract(t.state, '$.' || k.value)) > 1",
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
     "every injected curve is repeated at half and twice the assumed parallelism",
     "SELECT 'replay ' || t.replay_id || ': ' || " NAMED("t") " || ' assumes the parallelism of ' || round(100 * max(t.assumed_k_share)) || "
     "' % of its far bytes, and is not repeated at ' || k.value || ' times it' FROM trial t JOIN replay r ON r.id = t.replay_id, "
     "json_each('[0.5,2]') k WHERE t.evidence = 4 AND t.parallelism_scale = 1 AND t.assumed_k_share > 0 AND " PLAIN("t") " AND NOT "
     "EXISTS(SELECT 1 FROM trial u JOIN replay v ON v.id = u.replay_id WHERE " SAME_POINT " AND u.variant IN ('', 'k/2', '2k') AND "
     "u.parallelism_scale = k.value) GROUP BY " POINT ", k.value",
     "nearfar replay STUDY --sensitivity"},
    {"unfiltered",
     "every injected curve is repeated without the cache filter",
     "SELECT 'replay ' || t.replay_id || ': ' || " NAMED("t") " || ' is charged past the filter alone' FROM trial t JOIN replay r ON r.id = "
     "t.replay_id WHERE t.evidence = 4 AND r.llc_filter_bytes > 0 AND t.parallelism_scale = 1 AND " PLAIN("t") " AND NOT EXISTS(SELECT 1 "
     "FROM trial u JOIN replay v ON v.id = u.replay_id WHERE " SAME_POINT " AND (u.variant = 'unfiltered' OR (u.variant = '' AND "
     "v.llc_filter_bytes = 0))) GROUP BY " POINT,
     "nearfar replay STUDY --sensitivity"},
    {"store-kind",
     "every curve is repeated with the other kind of stores, as a capture does not know which they were",
     "SELECT 'replay ' || t.replay_id || ': ' || " NAMED("t") " || ' has ' || t.store || ' stores alone' FROM trial t JOIN replay r ON r.id = "
     "t.replay_id WHERE t.parallelism_scale = 1 AND " PLAIN("t") " AND NOT EXISTS(SELECT 1 FROM trial u JOIN replay v ON v.id = u.replay_id "
     "WHERE " SAME_POINT " AND u.store != t.store) GROUP BY " POINT,
     "nearfar replay STUDY --sensitivity"},
    {"fidelity",
     "a prediction that nothing was fitted to was held against the real job, on the machine and the nodes of the replay",
     "WITH named AS (SELECT testbed_id, number, iif(instr(rest, ','), substr(rest, 1, instr(rest, ',') - 1), rest) AS node FROM (SELECT "
     "testbed_id, number, substr(spec, instr(spec, 'node=') + 5) AS rest FROM tier WHERE provider = 'numa' AND instr(spec, 'node=') ORDER BY "
     "testbed_id, number)), listed AS (SELECT testbed_id, group_concat(node) AS nodes FROM named GROUP BY testbed_id) "
     "SELECT 'capture ' || c.id || ' has no live run that a replay of it predicts: beside a hog, bound far or by a plan to the nodes it "
     "replays on' FROM capture c WHERE EXISTS(SELECT 1 FROM replay WHERE capture_id = c.id) AND NOT EXISTS(SELECT 1 FROM live_run l JOIN "
     "invocation i ON i.id = l.invocation_id JOIN replay r ON r.capture_id = l.capture_id JOIN testbed b ON b.id = r.testbed_id AND b.machine_id "
     "= i.machine_id JOIN trial t ON t.replay_id = r.id AND t.status = 'ok' AND t.parallelism_scale = 1 AND t.variant = '' AND t.cold = 0 AND "
     "t.background = '' LEFT JOIN listed ON listed.testbed_id = b.id WHERE l.capture_id = c.id AND l.exit_status = 0 AND l.evidence != 6 AND "
     "((l.kind = 'hog' AND t.hog = 1 AND t.policy = 'all-near') OR (l.kind IN ('bind', 'policy') AND t.hog = 0 AND r.scale = 1 AND NOT "
     "EXISTS(SELECT 1 FROM tier WHERE testbed_id = b.id AND (provider != 'numa' OR target_latency_ns > 0 OR target_read_bps > 0)) AND "
     "((t.policy = 'all-far' AND l.binding = 'far: node ' || (SELECT node FROM named WHERE testbed_id = b.id AND number = (SELECT max(number) "
     "FROM tier WHERE testbed_id = b.id))) OR (t.policy = 'interleave' AND t.policy_options = '' AND l.binding = 'interleave: node ' || nodes) "
     "OR (t.policy = 'weighted' AND l.binding = 'weighted: node ' || nodes || ' by ' || substr(t.policy_options, 9)) OR (l.near_share < 0.99 "
     "AND t.policy = 'first-touch' AND abs(t.near_share - l.near_share) < 0.005 AND l.binding = 'first-touch: node ' || nodes) OR (l.kind = "
     "'policy' AND t.policy = l.policy AND t.policy_options = l.policy_options AND abs(t.near_share - l.near_share) < 0.005 AND l.binding = "
     "'plan: node ' || nodes)))))",
     "nearfar run STUDY --hog -- JOB, and nearfar replay STUDY --hog"},
    {"live-repetitions",
     "every kind of live run was made at least three times",
     "SELECT 'capture ' || capture_id || ': the job ' || kind || iif(binding || policy = '', '', ' (' || trim(policy || ' ' || binding) || ')') "
     "|| ' ran well ' || sum(exit_status = 0) || iif(sum(exit_status = 0) = 1, ' time', ' times') FROM live_run GROUP BY capture_id, kind, "
     "binding, policy, policy_options, iif(policy = '', 1, near_share) HAVING sum(exit_status = 0) < 3",
     "nearfar run STUDY --repetitions 3"},
    {"recaptured",
     "what a replay really does was captured again",
     "SELECT 'no replay of capture ' || id || ' was' FROM capture c WHERE EXISTS(SELECT 1 FROM replay WHERE capture_id = c.id) AND NOT "
     "EXISTS(SELECT 1 FROM recapture WHERE capture_id = c.id)",
     "nearfar replay STUDY --again framework"},
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
