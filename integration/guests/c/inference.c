// Inference: one verb per run, each of them something that the helper beside the container
// has to answer for. What a function returns is printed, for these are the tests' rows.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NN(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))

struct bytes {
	const void *at;
	uint32_t size;
};

struct tensor {
	const uint32_t *dims;
	uint32_t dims_count, type;
	const void *data;
	uint32_t size;
};

NN("load") uint32_t nn_load(const struct bytes *, uint32_t, uint32_t, uint32_t, uint32_t *);
NN("load_by_name") uint32_t nn_load_by_name(const char *, uint32_t, uint32_t *);
NN("init_execution_context") uint32_t nn_init(uint32_t, uint32_t *);
NN("set_input") uint32_t nn_set_input(uint32_t, uint32_t, const struct tensor *);
NN("compute") uint32_t nn_compute(uint32_t);
NN("get_output") uint32_t nn_get_output(uint32_t, uint32_t, void *, uint32_t, uint32_t *);
NN("compute_single") uint32_t nn_compute_single(uint32_t);
NN("get_output_single") uint32_t nn_get_output_single(uint32_t, uint32_t, void *, uint32_t, uint32_t *);
NN("fini_single") uint32_t nn_fini_single(uint32_t);
NN("unload") uint32_t nn_unload(uint32_t);

enum { U8 = 3, END_OF_SEQUENCE = 100, RUNTIME_ERROR = 5 };

static struct bytes file(const char *path) {
	struct stat st;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) != 0) {
		printf("%s: cannot be opened\n", path);
		exit(1);
	}
	char *at = malloc(st.st_size + 1);
	ssize_t done = 0, n;
	while (done < st.st_size && (n = read(fd, at + done, st.st_size - done)) > 0)
		done += n;
	close(fd);
	return (struct bytes){at, done};
}

// load ENCODING TARGET FILE [METADATA]
static int load(int argc, char **argv) {
	uint32_t graph = 0;
	struct bytes builders[2] = {file(argv[4])};
	if (argc > 5)
		builders[1] = (struct bytes){argv[5], strlen(argv[5])};
	printf("load: %u\n", nn_load(builders, argc > 5 ? 2 : 1, atoi(argv[2]), atoi(argv[3]), &graph));
	return 0;
}

// loads COUNT ENCODING FILE: without an unload.
static int loads(char **argv) {
	unsigned counts[256] = {0};
	uint32_t graph = 0, last = 0;
	struct bytes model = file(argv[4]);
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
	struct tensor t = {&one, 1, U8, s, strlen(s)};
	return nn_set_input(context, index, &t);
}

// Prints tokens as they come, and how it ended.
static uint32_t stream(uint32_t context) {
	static char out[1 << 16];
	uint32_t code, n = 0;
	while ((code = nn_compute_single(context)) == 0) {
		code = nn_get_output_single(context, 0, out, sizeof out, &n);
		if (code != 0)
			break;
		fwrite(out, 1, n, stdout);
		fflush(stdout);
	}
	nn_fini_single(context);
	printf("\nended: %u\n", code);
	fflush(stdout);
	return code;
}

static uint32_t begin(char **argv, int argc, uint32_t *context) {
	uint32_t graph = 0;
	uint32_t code = nn_load_by_name(argv[2], strlen(argv[2]), &graph);
	if (code == 0)
		code = nn_init(graph, context);
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

// survive NAME PROMPT METADATA: generates again when the helper has gone, until it may not.
static int survive(int argc, char **argv) {
	uint32_t context = 0;
	if (begin(argv, argc, &context) != 0 || stream(context) != RUNTIME_ERROR)
		return 1;
	printf("compute: %u\n", nn_compute_single(context));
	if (begin(argv, argc, &context) != 0)
		return 2;
	return stream(context) != END_OF_SEQUENCE;
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
	if (!strcmp(verb, "idle"))
		return idle(argc, argv);
	printf("%s: unknown verb\n", verb);
	return 2;
}
