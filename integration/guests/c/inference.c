// Inference: one verb per run, each of them something that the helper beside the container
// has to answer for. What a function returns is printed, for these are the tests' rows.
#include <time.h>
#include <unistd.h>

#include "nn.h"

enum { RUNTIME_ERROR = 5, END_OF_SEQUENCE = 100 };

// load ENCODING TARGET FILE [METADATA]
static int load(int argc, char **argv) {
	uint32_t graph = 0;
	struct nn_bytes builders[2] = {nn_read(argv[4])};
	if (argc > 5)
		builders[1] = (struct nn_bytes){argv[5], strlen(argv[5])};
	printf("load: %u\n", nn_load(builders, argc > 5 ? 2 : 1, atoi(argv[2]), atoi(argv[3]), &graph));
	return 0;
}

// loads COUNT ENCODING FILE: without an unload.
static int loads(char **argv) {
	unsigned counts[256] = {0};
	uint32_t graph = 0, last = 0;
	struct nn_bytes model = nn_read(argv[4]);
	for (int i = atoi(argv[2]); i > 0; i--) {
		uint32_t code = nn_load(&model, 1, atoi(argv[3]), 0, &graph);
		counts[code & 255]++;
		if (code == 0 && graph == last)
			printf("graph %u twice\n", graph);
		if (code == 0)
			last = graph;
	}
	for (int code = 0; code < 256; code++)
		if (counts[code] != 0)
			printf("%u loads: %d\n", counts[code], code);
	return 0;
}

static uint32_t text(uint32_t context, uint32_t index, const char *s) {
	uint32_t one = 1;
	struct nn_tensor t = {&one, 1, NN_U8, s, strlen(s)};
	return nn_set_input(context, index, &t);
}

// Prints tokens as they come, and how it ended.
static uint32_t stream(uint32_t context) {
	static char out[1 << 16];
	uint32_t code, n = 0;
	while ((code = nn_compute_single(context)) == 0) {
		code = nn_output_single(context, 0, out, sizeof out, &n);
		if (code != 0)
			break;
		fwrite(out, 1, n, stdout);
		fflush(stdout);
	}
	nn_finish_single(context);
	printf("\nended: %u\n", code);
	fflush(stdout);
	return code;
}

static uint32_t begin(char **argv, int argc, uint32_t *context) {
	uint32_t graph = 0;
	uint32_t code = nn_load_by_name(argv[2], strlen(argv[2]), &graph);
	if (code == 0)
		code = nn_context(graph, context);
	if (code == 0 && argc > 4)
		code = text(*context, 1, argv[4]);
	if (code == 0)
		code = text(*context, 0, argv[3]);
	if (code != 0)
		printf("begin: %u\n", code);
	fflush(stdout);
	return code;
}

// generate NAME PROMPT [METADATA]
static int generate(int argc, char **argv) {
	uint32_t context = 0;
	return begin(argv, argc, &context) != 0 || stream(context) != END_OF_SEQUENCE;
}

// survive NAME PROMPT METADATA: goes on when its worker is gone, with another text.
static int survive(int argc, char **argv) {
	uint32_t context = 0;
	if (begin(argv, argc, &context) != 0 || stream(context) != RUNTIME_ERROR)
		return 1;
	printf("compute: %u\n", nn_compute_single(context));
	argv[3] = "abc";
	uint32_t code = begin(argv, argc, &context);
	if (code == 0)
		code = stream(context);
	puts("alive");
	fflush(stdout);
	sleep(3600);
	return code;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// measure NAME METADATA PROMPT TOKENS: a prompt of that many characters, and tokens after it.
// Prints the seconds to the first token, and those of the others. The model is loaded with the
// metadata: what of it is about the model would otherwise have it loaded again.
static int measure(char **argv) {
	static char out[1 << 10];
	uint32_t graph = 0, context = 0, n = 0, code = 0;
	int length = atoi(argv[4]), tokens = atoi(argv[5]), made = 0;
	char *prompt = malloc(length + 1);
	for (int i = 0; i < length; i++)
		prompt[i] = 'a' + i % 26;
	prompt[length] = 0;
	NN_MUST(nn_load_by_name_with_config(argv[2], strlen(argv[2]), argv[3], strlen(argv[3]), &graph));
	NN_MUST(nn_context(graph, &context));
	NN_MUST(text(context, 0, prompt));
	double start = now(), first = 0;
	while (made < tokens && (code = nn_compute_single(context)) == 0) {
		NN_MUST(nn_output_single(context, 0, out, sizeof out, &n));
		if (made++ == 0)
			first = now();
	}
	printf("%.6f %.6f %d %u\n", first - start, now() - first, made - 1, code);
	return 0;
}

// idle: asks for nothing, and stays. loaded NAME: the same with a model.
static int idle(int argc, char **argv) {
	uint32_t graph = 0;
	printf("unload: %u\n", nn_unload(4711));
	if (argc > 2)
		printf("load: %u\n", nn_load_by_name(argv[2], strlen(argv[2]), &graph));
	puts("asleep");
	fflush(stdout);
	for (;;)
		sleep(3600);
}

int main(int argc, char **argv) {
	const char *verb = argc > 1 ? argv[1] : "";
	if (!strcmp(verb, "load") && argc >= 5)
		return load(argc, argv);
	if (!strcmp(verb, "loads") && argc == 5)
		return loads(argv);
	if (!strcmp(verb, "generate") && argc >= 4)
		return generate(argc, argv);
	if (!strcmp(verb, "survive") && argc >= 4)
		return survive(argc, argv);
	if (!strcmp(verb, "measure") && argc == 6)
		return measure(argv);
	if (!strcmp(verb, "idle"))
		return idle(argc, argv);
	printf("%s: unknown verb\n", verb);
	return 2;
}
