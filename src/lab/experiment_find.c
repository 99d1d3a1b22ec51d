/* experiment_find.c - where experiments lie: ./experiments, the sources that this program was built from, and where
 * it was installed. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base.h"
#include "experiment.h"
#include "mem.h"
#include "opt.h"
#include "yaml_tree.h"

static const char *const folders[] = {"experiments", REDLINE_EXPERIMENTS_BUILD, REDLINE_EXPERIMENTS_INSTALLED};

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static const char *text_of(const json_t *entry, const char *key)
{
    return json_string_value(json_object_get(entry, key));
}

static int fail_unknown(const char *name, struct redline_err *err)
{
    json_t *list = NULL;
    TRY(experiment_list(&list, err));
    size_t n = json_array_size(list);
    const char **names = mem_new(n, sizeof *names), *near = NULL;
    for (size_t i = 0; names && i < n; i++) names[i] = text_of(json_array_get(list, i), "name");
    if (names) near = opt_nearest(name, names, n);
    int status = near ? err_set(err, REDLINE_ARG, "there is no experiment '%s'; did you mean '%s'?", name, near)
                      : err_set(err, REDLINE_ARG, "there is no experiment '%s'; redline lab list shows them", name);
    mem_free(names);
    json_decref(list);
    return status;
}

int experiment_find(struct buf *out, const char *name, struct redline_err *err)
{
    *out = (struct buf){0};
    bool is_path = strchr(name, '/') || str_ends(str_of(name), STR(".yaml")) || str_ends(str_of(name), STR(".yml"));
    if (is_path) return buf_append_str(out, str_of(name), err);
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        int status = buf_printf(out, err, "%s/%s.yaml", folders[i], name);
        if (!status && is_file(out->p)) return 0;
        buf_free(out);
        TRY(status);
    }
    return fail_unknown(name, err);
}

/* ---- all that can be found ------------------------------------------------------------------- */

static bool is_listed(const json_t *list, const char *name)
{
    const json_t *entry;
    size_t i;
    json_array_foreach (list, i, entry)
        if (strcmp(text_of(entry, "name"), name) == 0) return true;
    return false;
}

/* A file of rules lies there too: what has no name is no experiment. */
static int add_file(json_t *list, const char *path, const char *name, struct redline_err *err)
{
    struct yaml y = {0};
    struct redline_err why = {0};
    json_t *entry = NULL;
    int status = yaml_read(&y, path, &why);
    if (status == REDLINE_MEMORY) return err_memory(err, 1, path);
    if (!status && !json_object_get(y.root, "name")) goto out;
    const char *title = json_string_value(json_object_get(y.root, "title"));
    entry = status ? json_pack("{s:s,s:s,s:s}", "name", name, "path", path, "failed", why.message)
                   : json_pack("{s:s,s:s,s:s}", "name", name, "path", path, "title", title ? title : "");
    status = !entry || json_array_append_new(list, entry) ? err_memory(err, 1, path) : 0;
out:
    yaml_close(&y);
    return status;
}

static int add_folder(json_t *list, const char *folder, struct redline_err *err)
{
    struct dirent **files = NULL;
    int status = 0, n = scandir(folder, &files, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct str file = str_of(files[i]->d_name);
        char name[256], path[4096];
        snprintf(name, sizeof name, "%.*s", (int)(file.n - MIN(file.n, 5u)), file.p);
        snprintf(path, sizeof path, "%s/%s", folder, file.p);
        if (!status && *name && *name != '.' && str_ends(file, STR(".yaml")) && !is_listed(list, name) && is_file(path))
            status = add_file(list, path, name, err);
        free(files[i]); /* scandir() took it from the C library */
    }
    if (n >= 0) free(files);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(text_of(*(json_t *const *)a, "name"), text_of(*(json_t *const *)b, "name"));
}

/* By name: two folders follow one another. */
static int sort(json_t *list, struct redline_err *err)
{
    size_t n = json_array_size(list);
    json_t **entries = mem_new(n, sizeof *entries);
    if (!entries) return err_memory(err, n * sizeof *entries, "a list of experiments");
    for (size_t i = 0; i < n; i++) entries[i] = json_incref(json_array_get(list, i));
    qsort(entries, n, sizeof *entries, compare_names);
    for (size_t i = 0; i < n; i++) json_array_set_new(list, i, entries[i]);
    mem_free(entries);
    return 0;
}

int experiment_list(json_t **out, struct redline_err *err)
{
    json_t *list = json_array();
    int status = list ? 0 : err_memory(err, 1, "a list of experiments");
    for (size_t i = 0; !status && i < COUNT_OF(folders); i++) status = add_folder(list, folders[i], err);
    if (!status) status = sort(list, err);
    if (status) json_decref(list);
    *out = status ? NULL : list;
    return status;
}
