/* cmd_synth.c - redline synth: a model of a real model's shape with random weights. */
#include "base.h"
#include "cmd.h"
#include "made.h"
#include "settings.h"

static int list_shapes(struct buf *out, struct redline_err *err)
{
    TRY(buf_printf(out, err, "Shapes:"));
    for (size_t i = 0; redline_shape_name(i); i++)
        TRY(buf_printf(out, err, "\n  %-16s %s", redline_shape_name(i), redline_shape_title(i)));
    return buf_printf(out, err,
                      "\n\nThe vocabulary has the real one's size and kind, not its words.  Experts alone are MXFP4\n"
                      "under that name, the rest is Q8_0.  Example: redline synth llama2-7b Q4_K_M llama2-7b.gguf");
}

static int run_all(struct made_line *line, struct redline_synth_params *params, const char *const *words,
                   int n_words, struct redline_err *err)
{
    struct redline_made made;
    if (n_words < 3) return err_set(err, REDLINE_ARG, "three words are needed: redline synth SHAPE TYPE OUT");
    params->listener = made_progress;
    params->user = line;
    made_start(line);
    TRY(redline_synth(words[0], words[1], words[2], params, &made, err));
    made_report(line, &made, words[2]);
    return 0;
}

int cmd_synth(int argc, char **argv)
{
    struct redline_synth_params params = {0};
    struct made_line line = {0};
    struct settings set = {0};
    const struct opt options[] = {
        {"-s, --seed", "N", OPT_U64, &params.seed, 0, 0, "seed of the weights (0); same seed, same file"},
        settings_opt(&set, SETTING_N_THREADS, &params.n_threads),
        {"-q, --quiet", NULL, OPT_FLAG, &line.quiet, 0, 0, "nothing on standard error"},
    };
    struct buf notes = {0}, summary = {0};
    const char *words[3];
    struct redline_err err = {0};
    int n_words, exit_code = EXIT_FINE;
    int status = list_shapes(&notes, &err);
    if (!status)
        status = made_summary(&summary, &err,
                              "Writes a GGUF file with metadata, tensors and vocabulary size of a known model and\n"
                              "random weights, to measure a machine without a download.  TYPE is one of\n");
    const struct opt_command command = {"redline synth SHAPE TYPE OUT [options]", summary.p, options,
                                        COUNT_OF(options), notes.p};
    if (!status && settings_parse(&set, &command, argc, argv, words, 3, &n_words, &exit_code)) {
        status = run_all(&line, &params, words, n_words, &err);
        settings_free(&set);
    }
    cmd_progress_clear(&line.progress);
    buf_free(&notes);
    buf_free(&summary);
    return status ? cmd_fail(&err) : exit_code;
}
