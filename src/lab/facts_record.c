/* facts_record.c - the facts as the "machine" of a record. */
#include <math.h>
#include <stdio.h>

#include "facts.h"
#include "record.h"

static int set(json_t *record, const char *name, json_t *value, struct redline_err *err)
{
    char path[64];
    snprintf(path, sizeof path, "machine.%s", name);
    return record_set(record, path, value, err);
}

static int miss(json_t *record, const char *name, const char *reason, struct redline_err *err)
{
    char path[64];
    snprintf(path, sizeof path, "machine.%s", name);
    return record_miss(record, path, reason, err);
}

static int set_number(json_t *record, const char *name, const struct fact_number *fact, struct redline_err *err)
{
    if (isnan(fact->value)) return miss(record, name, fact->reason, err);
    bool is_whole = fact->value == floor(fact->value) && fabs(fact->value) < 1e15;
    return set(record, name, is_whole ? json_integer((json_int_t)fact->value) : json_real(fact->value), err);
}

static int set_text(json_t *record, const char *name, const char *text, const char *reason, struct redline_err *err)
{
    return *text ? set(record, name, json_string(text), err) : miss(record, name, reason, err);
}

static int set_bytes(json_t *record, const char *name, uint64_t bytes, struct redline_err *err)
{
    return set(record, name, json_integer((json_int_t)bytes), err);
}

static int set_machine(json_t *record, const struct facts *f, struct redline_err *err)
{
    const struct redline_machine *m = &f->machine;
    TRY(set(record, "id", json_string(f->machine_id), err));
    TRY(set(record, "cpu", json_string(m->cpu), err));
    TRY(set(record, "features", json_string(f->features), err));
    TRY(set_text(record, "microcode", m->microcode, "/proc/cpuinfo says nothing of it", err));
    TRY(set_text(record, "kernel", m->kernel, "uname does not answer", err));
    TRY(set(record, "n_logical", json_integer(m->n_logical), err));
    TRY(set(record, "n_physical", json_integer(m->n_physical), err));
    TRY(m->quota > 0 ? set(record, "quota", json_real(m->quota), err)
                     : miss(record, "quota", "there is no limit", err));
    return set_bytes(record, "memory_bytes", m->memory_bytes, err);
}

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static json_t *gpu_object(const struct gpu_fact *g)
{
    json_t *others = g->n_other_processes < 0 ? json_null() : json_integer(g->n_other_processes);
    return json_pack("{s:s, s:o, s:I, s:I, s:o, s:o}", "name", g->name, "pci_id", text_or_null(g->pci_id),
                     "memory_bytes", (json_int_t)g->memory_bytes, "free_bytes", (json_int_t)g->free_bytes,
                     "n_other_processes", others, "capability", text_or_null(g->capability));
}

static bool is_partly_known(const struct gpu_fact *g)
{
    return !g->pci_id[0] || !g->capability[0] || g->n_other_processes < 0;
}

static int set_gpus(json_t *record, const struct facts *f, struct redline_err *err)
{
    if (f->n_gpus == 0 && (f->gpu_on_bus.value[0] || f->gpu_driver.value[0]))
        return miss(record, "gpus", f->gpu_reason, err); /* there is something, and it cannot be read */
    json_t *gpus = json_array();
    bool has_nulls = false;
    for (int i = 0; i < f->n_gpus; i++) {
        has_nulls |= is_partly_known(&f->gpus[i]);
        json_t *gpu = gpu_object(&f->gpus[i]);
        if (!gpu || json_array_append_new(gpus, gpu)) { /* takes it in any case */
            json_decref(gpus);
            return err_memory(err, sizeof *f->gpus, "a record");
        }
    }
    TRY(set(record, "gpus", gpus, err));
    return has_nulls ? record_say(record, "machine.gpus", "NVIDIA's library does not tell this process", err) : 0;
}

int facts_to_record(const struct facts *f, json_t *record, struct redline_err *err)
{
    TRY(set_machine(record, f, err));
    TRY(set_text(record, "governor", f->governor.value, f->governor.reason, err));
    TRY(set_number(record, "load_1m", &f->load_1m, err));
    TRY(set_number(record, "throttled_share", &f->throttled_share, err));
    TRY(set_number(record, "memory_available_bytes", &f->memory_available_bytes, err));
    TRY(set_number(record, "swap_used_bytes", &f->swap_used_bytes, err));
    TRY(set_number(record, "memory_pressure", &f->memory_pressure, err));
    TRY(set_text(record, "huge_pages", f->huge_pages.value, f->huge_pages.reason, err));
    TRY(set_gpus(record, f, err));
    return set_text(record, "gpu_driver", f->gpu_driver.value, f->gpu_driver.reason, err);
}
