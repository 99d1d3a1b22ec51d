/* record_members.c - the table. */
#include "record_members.h"

#include "base.h"

#define OBJECT RECORD_OBJECT
#define ARRAY RECORD_ARRAY
#define TEXT RECORD_TEXT
#define INTEGER RECORD_INTEGER
#define NUMBER RECORD_NUMBER
#define TRUTH RECORD_TRUTH
#define CORE RECORD_CORE
#define NEVER RECORD_NEVER
#define OPTIONAL RECORD_OPTIONAL

const struct record_member record_members[] = {
    {"version", INTEGER, CORE | NEVER, "Of this format: 1"},
    {"id", TEXT, CORE | NEVER, "Names the measurement: time, process, number in the process"},
    {"started", TEXT, CORE | NEVER, "When it began, UTC, ISO 8601"},
    {"experiment", OBJECT, CORE, "What the measurement is a part of; null: it was made by itself"},
    {"experiment.name", TEXT, CORE | OPTIONAL, "Of the experiment's file"},
    {"experiment.digest", TEXT, CORE | OPTIONAL, "SHA-256 of the experiment with all that the command line changed"},
    {"experiment.series", TEXT, CORE | OPTIONAL, "When the series began that this measurement belongs to"},
    {"experiment.cell", INTEGER, CORE | OPTIONAL, "Number of the row within the experiment, from 0"},
    {"experiment.grid", OBJECT, CORE | OPTIONAL, "What makes the row, as it was written"},
    {"experiment.repetition", INTEGER, CORE | OPTIONAL, "Within the row, from 0"},
    {"experiment.order", INTEGER, CORE | OPTIONAL, "Within the series, from 0"},
    {"program", OBJECT, CORE | NEVER, "What was measured"},
    {"program.name", TEXT, CORE | NEVER, "redline, llama-bench, ..."},
    {"program.contestant", TEXT, CORE | NEVER, "Its name in a comparison"},
    {"program.version", TEXT, CORE, ""},
    {"program.commit", TEXT, CORE, "Revision of its sources"},
    {"program.build", TEXT, CORE, "Compiler and kind of build"},
    {"program.command", TEXT, CORE, "How it was called, where it is another program"},
    {"model", OBJECT, CORE | NEVER, ""},
    {"model.file", TEXT, CORE, "Name of the file, without its folder"},
    {"model.path", TEXT, CORE | OPTIONAL, "As the task names it"},
    {"model.digest", TEXT, 0, "sha256: of the file's bytes, those of a split set one after the other"},
    {"model.bytes", INTEGER, 0, "Of the files"},
    {"model.architecture", TEXT, 0, "general.architecture"},
    {"model.label", TEXT, 0, "general.name"},
    {"model.type", TEXT, 0, "Type that most of the weights' bytes have"},
    {"model.n_parameters", INTEGER, 0, "Elements of all tensors"},
    {"model.n_layers", INTEGER, 0, ""},
    {"model.n_vocab", INTEGER, 0, ""},
    {"model.weight_bytes", INTEGER, 0, "Of the weights that are used"},
    {"model.token_bytes", INTEGER, OPTIONAL, "Of the weights that are read for one token"},
    {"model.token_ops", INTEGER, OPTIONAL, "In the products of the layers, for one token; a multiply-add is two"},
    {"model.head_ops", INTEGER, OPTIONAL, "In that of the output matrix, for each token that is generated"},
    {"settings", OBJECT, CORE | NEVER, ""},
    {"settings.requested", OBJECT, CORE, "As whoever asked wrote them"},
    {"settings.effective", OBJECT, 0, "As they really were"},
    {"settings.effective.device", TEXT, 0, "Where the model ran"},
    {"settings.effective.n_threads", INTEGER, 0, "Threads of the engine"},
    {"settings.effective.n_threads_used", INTEGER, 0, "Of those, by the last step: fewer beside busy programs"},
    {"settings.effective.n_ctx", INTEGER, 0, "Tokens of the longest sequence"},
    {"settings.effective.n_batch", INTEGER, 0, "Handed over together; a step has the smaller of this and n_ubatch"},
    {"settings.effective.n_ubatch", INTEGER, 0, "Most tokens of one forward pass"},
    {"settings.effective.n_seqs", INTEGER, 0, "Requests that run at the same time"},
    {"settings.effective.type_k", TEXT, 0, "Of keys in the cache"},
    {"settings.effective.type_v", TEXT, 0, "Of values in the cache"},
    {"settings.effective.flash_attn", TRUTH, 0, "Whether attention ran in tiles whose scores are never stored"},
    {"settings.effective.exact", TRUTH, 0, "float32 activations in every product"},
    {"settings.effective.n_gpu_layers", INTEGER, 0, "Layers that were on a GPU"},
    {"settings.effective.cpu_mask", TEXT, 0, "REDLINE_CPU: instruction sets that were taken away"},
    {"settings.effective.features", TEXT, 0, "Instruction sets that were left"},
    {"settings.effective.kernels", ARRAY, 0, "For each type of weights what it was multiplied by"},
    {"settings.effective.placement", ARRAY, 0, "Where each layer was"},
    {"workload", OBJECT, CORE | NEVER, "What was asked of it"},
    {"workload.name", TEXT, CORE, "In the experiment"},
    {"workload.kind", TEXT, CORE, "generate, embed, score or load"},
    {"workload.n_prompt", INTEGER, CORE, "Tokens of a prompt; of a part of a document, at most"},
    {"workload.n_gen", INTEGER, CORE, "Tokens that each request generates"},
    {"workload.n_depth", INTEGER, CORE, "Tokens that are in the cache before each request"},
    {"workload.document", TEXT, CORE, "Name of the text that is read; null: random tokens"},
    {"workload.split", TEXT, CORE, "whole, paragraphs or lines: what of it is a request"},
    {"workload.n_requests", INTEGER, CORE, ""},
    {"workload.concurrency", INTEGER, CORE, "Clients; with an open arrival, requests that run together"},
    {"workload.arrival", TEXT, CORE, "closed: the next when the last has ended; poisson, even: by the clock"},
    {"workload.rate", NUMBER, CORE, "Requests per second of an open arrival"},
    {"workload.seed", INTEGER, CORE, "Of random tokens and arrivals"},
    {"load", TEXT, CORE, "fresh: the first request met weights as they lie in the file; warm: a request ran before"},
    {"machine", OBJECT, CORE, "What it is, and what it was doing when the measurement began"},
    {"machine.id", TEXT, CORE, "Fingerprint of what the limits of a machine depend on, REDLINE_CPU left aside"},
    {"machine.cpu", TEXT, CORE, ""},
    {"machine.features", TEXT, CORE, "Instruction sets, with those that REDLINE_CPU takes away"},
    {"machine.microcode", TEXT, CORE, ""},
    {"machine.kernel", TEXT, CORE, "Operating system"},
    {"machine.n_logical", INTEGER, CORE, "Processors that the process may run on"},
    {"machine.n_physical", INTEGER, CORE, "Cores that they belong to"},
    {"machine.quota", NUMBER, CORE, "Processors' worth of time that the container grants"},
    {"machine.memory_bytes", INTEGER, CORE, ""},
    {"machine.governor", TEXT, CORE, "Of the slowest-minded processor"},
    {"machine.load_1m", NUMBER, CORE, "Runnable threads, mean of the last minute"},
    {"machine.throttled_share", NUMBER, CORE, "Of the quota's periods, those in which it ran out"},
    {"machine.memory_available_bytes", NUMBER, CORE, ""},
    {"machine.swap_used_bytes", NUMBER, CORE, ""},
    {"machine.memory_pressure", NUMBER, CORE, "Per cent of the last ten seconds that some process waited for memory"},
    {"machine.huge_pages", TEXT, CORE, "Transparent ones: always, madvise or never"},
    {"machine.gpus", ARRAY, CORE, "Those that could be used, and who else uses them"},
    {"machine.gpu_driver", TEXT, CORE, "Version"},
    {"times", OBJECT, 0, "Nanoseconds since the process began, here and in requests"},
    {"times.process_start_ns", INTEGER, 0, "0"},
    {"times.process_start_within_ns", INTEGER, OPTIONAL, "How well that moment is known"},
    {"times.model_open_ns", INTEGER, OPTIONAL, "The file's header is about to be read"},
    {"times.engine_open_ns", INTEGER, OPTIONAL, "Weights are about to be read"},
    {"times.loaded_ns", INTEGER, 0, "The engine is ready"},
    {"requests", ARRAY, 0, "In the order of their submission"},
    {"derived", OBJECT, NEVER, "Figures: value, unit; each has its definition below"},
    {"warnings", ARRAY, OPTIONAL, "What the engine had to say"},
    {"failed", TEXT, CORE | NEVER | OPTIONAL, "Why there are no figures; not there when there are"},
    {"missing", OBJECT, CORE | NEVER, "Why a value is null, by its path or that of what it is a part of"},
};
const size_t n_record_members = COUNT_OF(record_members);

static const struct record_member of_kernel[] = {
    {"type", TEXT, 0, "Of the weights"},
    {"kernel", TEXT, 0, "Instruction set of the products with generated tokens"},
    {"arithmetic", TEXT, 0, "f32 or int8"},
    {"text_kernel", TEXT, 0, "Of those with prompts"},
    {"text_arithmetic", TEXT, 0, "f32, int8 or bf16"},
    {"bytes", INTEGER, 0, "Of all used tensors of the type"},
};
static const struct record_member of_layer[] = {
    {"layer", INTEGER, NEVER, "From 0"},
    {"device", TEXT, NEVER, ""},
    {"weight_bytes", INTEGER, 0, ""},
    {"kv_bytes", INTEGER, 0, "Of its share of the cache"},
};
static const struct record_member of_gpu[] = {
    {"name", TEXT, 0, ""},
};
static const struct record_member of_request[] = {
    {"submitted_ns", INTEGER, 0, "By the consumer's clock"},
    {"started_ns", INTEGER, 0, "Out of the queue, by the engine's clock"},
    {"prefilled_ns", INTEGER, 0, "The logits of the last prompt token are there, by the engine's clock"},
    {"done_ns", INTEGER, 0, "By the engine's clock"},
    {"ended_ns", INTEGER, OPTIONAL, "The end has come to the consumer, by its clock"},
    {"n_prompt", INTEGER, 0, "Tokens"},
    {"n_cached", INTEGER, 0, "Of those, in the cache already"},
    {"n_generated", INTEGER, 0, "Tokens"},
    {"n_words", INTEGER, 0, "Of the generated text"},
    {"n_input_words", INTEGER, OPTIONAL, "Of the part of a document that was read"},
    {"stop", TEXT, 0, "length, end, context or cancel"},
    {"engine_ns", ARRAY, 0, "When each generated token was chosen, by the engine's clock"},
    {"consumer_ns", ARRAY, 0, "When it had come to the consumer, by its clock"},
};
const struct record_elements record_elements[] = {
    {"settings.effective.kernels", of_kernel, COUNT_OF(of_kernel)},
    {"settings.effective.placement", of_layer, COUNT_OF(of_layer)},
    {"machine.gpus", of_gpu, COUNT_OF(of_gpu)},
    {"requests", of_request, COUNT_OF(of_request)},
};
const size_t n_record_elements = COUNT_OF(record_elements);
