/* The program: finds the command, runs it, and makes sure that what it printed arrived. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/again.h"
#include "cmd/command.h"
#include "cmd/revision.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/version.h"
#include "core/store/study.h"

static const struct nf_command *const commands[] = {
    &nf_cmd_capture, &nf_cmd_import, &nf_cmd_show,    &nf_cmd_sql,    &nf_cmd_tiers,
    &nf_cmd_plan,    &nf_cmd_replay,  &nf_cmd_run,    &nf_cmd_analyze, &nf_cmd_validate, &nf_cmd_policies, &nf_cmd_doctor, NULL,
};

/* Called by other commands, listed nowhere. */
static const struct nf_command *const inner_commands[] = {&nf_cmd_again_job, NULL};

static void help(FILE *to)
{
    fputs("usage: nearfar COMMAND [ARGUMENTS]\n\n"
          "Captures which tensors a training job touches and when, reissues that access stream\n"
          "on memory tiers under placement policies, and draws the measured policy curves.\n\n",
          to);
    for (size_t i = 0; commands[i]; i++)
        fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->about);
    fputs("\n'nearfar COMMAND --help' explains one. Data goes to stdout, everything else to stderr.\n"
          "Exit codes: 0 ok, 1 failed, 2 usage, 3 this machine cannot, 4 the job itself failed.\n\n"
          "examples:\n"
          "  nearfar capture -o demo.nf -- python3 examples/finetune.py --lora\n"
          "  nearfar replay demo.nf --policy all --near 10%,20%,40%,80%\n",
          to);
}

void nf_command_help(const struct nf_command *c, FILE *to)
{
    fprintf(to, "usage: nearfar %s\n\n%s\n", c->usage, c->about);
    if (c->text)
        fprintf(to, "\n%s\n", c->text);
    if (c->options) {
        fputs("\noptions:\n", to);
        nf_options_help(c->options, to);
    }
    fprintf(to, "\nexamples:\n  %s\n  %s\n", c->examples[0], c->examples[1]);
}

int nf_command_parse(const struct nf_command *c, int argc, char **argv, void *out, int permute, int *first,
                     int *n_operands, int *exit_code)
{
    int rc = nf_options_parse(c->options, argc, argv, out, permute, first, n_operands);

    if (rc == NF_OPTION_E_HELP) {
        nf_command_help(c, stdout);
        *exit_code = NF_EXIT_OK;
        return 1;
    }
    if (rc) {
        *exit_code = nf_command_usage(c, nf_error_text(rc));
        return 1;
    }
    return 0;
}

int nf_command_fail(int rc)
{
    nf_progress_end();
    fprintf(stderr, "nearfar: %s\n", nf_error_text(rc));
    return NF_EXIT_FAILED;
}

int nf_command_usage(const struct nf_command *c, const char *text)
{
    fprintf(stderr, "nearfar %s: %s ('nearfar %s --help' explains)\n", c->name, text, c->name);
    return NF_EXIT_USAGE;
}

/* A closed standard stream would give its number to the next file opened, which may be a study. /dev/null the wrong way
 * round takes the number, and using it fails as it should. */
static void occupy_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    int code = -1;

    occupy_standard_streams();
    /* A full disk or a closed pipe shows as an error of write, not as a death. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    nf_version_revision(nf_revision);
    if (argc < 2) {
        help(stderr);
        return NF_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        code = NF_EXIT_OK;
    } else if (!strcmp(argv[1], "--version")) {
        printf("nearfar %s\n", nf_version());
        code = NF_EXIT_OK;
    }
    for (size_t i = 0; code < 0 && commands[i]; i++)
        if (!strcmp(argv[1], commands[i]->name))
            code = commands[i]->run(commands[i], argc - 2, argv + 2);
    for (size_t i = 0; code < 0 && inner_commands[i]; i++)
        if (!strcmp(argv[1], inner_commands[i]->name))
            code = inner_commands[i]->run(inner_commands[i], argc - 2, argv + 2);
    if (code < 0) {
        fprintf(stderr, "nearfar: there is no command '%s'; 'nearfar --help' lists them\n", argv[1]);
        return NF_EXIT_USAGE;
    }
    /* A command that failed has said so. A reader that left early, as head does, is no failure. */
    if (code == NF_EXIT_OK && (fflush(stdout) || ferror(stdout)) && errno != EPIPE) {
        fprintf(stderr, "nearfar: cannot write the output: %s\n", strerror(errno));
        return NF_EXIT_FAILED;
    }
    return code;
}
