/* cmd_quantize.c - redline quantize: the weights of a model, encoded anew. */
#include "base.h"
#include "cmd.h"
#include "made.h"
#include "settings.h"

static int run_all(struct made_line *line, struct redline_quantize_params *params, const char *const *words,
                   int n_words, struct redline_err *err)
{
    struct redline_made made;
    if (n_words < 3) return err_set(err, REDLINE_ARG, "three words are needed: redline quantize IN OUT TYPE");
    params->listener = made_progress;
    params->user = line;
    made_start(line);
    TRY(redline_quantize(words[0], words[1], words[2], params, &made, err));
    made_report(line, &made, words[1]);
    return 0;
}

int cmd_quantize(int argc, char **argv)
{
    struct redline_quantize_params params = {0};
    struct made_line line = {0};
    struct settings set = {0};
    const struct opt options[] = {
        {"--allow-requantize", NULL, OPT_FLAG, &params.allow_requantize, 0, 0,
         "also re-encode what is quantised already; its loss adds up"},
        {"--imatrix", "FILE", OPT_STRING, &params.imatrix, 0, 0,
         "an importance matrix of redline imatrix or llama-imatrix, to lose less where it matters"},
        settings_opt(&set, SETTING_N_THREADS, &params.n_threads),
        {"-q, --quiet", NULL, OPT_FLAG, &line.quiet, 0, 0, "nothing on standard error"},
    };
    struct buf summary = {0};
    const char *words[3];
    struct redline_err err = {0};
    int n_words, exit_code = EXIT_FINE;
    int status = made_summary(&summary, &err,
                              "Writes the model IN (of a split one, its first file) to OUT, its weights encoded as\n"
                              "TYPE, all else as it is.  OUT appears when it is complete.  TYPE is one of\n");
    const struct opt_command command = {
        "redline quantize IN OUT TYPE [options]", summary.p, options, COUNT_OF(options),
        "Which tensor gets which type, and what matrices with odd widths get, is as in llama.cpp.  MXFP4 is for\n"
        "the experts; the rest is Q8_0.  Example: redline quantize model-f16.gguf model-q4.gguf Q4_K_M"};
    if (!status && settings_parse(&set, &command, argc, argv, words, 3, &n_words, &exit_code)) {
        status = run_all(&line, &params, words, n_words, &err);
        settings_free(&set);
    }
    cmd_progress_clear(&line.progress);
    buf_free(&summary);
    return status ? cmd_fail(&err) : exit_code;
}
