// wasi_ephemeral_nn, as far as the guests here use it.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NN(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(#name)))

struct nn_bytes {
	const void *data;
	uint32_t size;
};

enum nn_type { NN_F16, NN_F32, NN_F64, NN_U8, NN_I32, NN_I64 };

struct nn_tensor {
	const uint32_t *dims;
	uint32_t rank;
	uint32_t type;
	const void *data;
	uint32_t size;
};

enum { NN_ONNX = 1, NN_GGML = 6 };
enum { NN_CPU, NN_GPU, NN_TPU, NN_AUTO };
enum { NN_TOO_LARGE = 7 };

NN(load) uint32_t nn_load(const struct nn_bytes *parts, uint32_t count, uint32_t encoding, uint32_t target, uint32_t *graph);
NN(load_by_name) uint32_t nn_load_by_name(const char *name, uint32_t size, uint32_t *graph);
NN(load_by_name_with_config)
uint32_t nn_load_by_name_with_config(const char *name, uint32_t size, const char *config, uint32_t config_size, uint32_t *graph);
NN(unload) uint32_t nn_unload(uint32_t graph);
NN(init_execution_context) uint32_t nn_context(uint32_t graph, uint32_t *context);
NN(finalize_execution_context) uint32_t nn_finalize(uint32_t context);
NN(set_input) uint32_t nn_set_input(uint32_t context, uint32_t index, const struct nn_tensor *tensor);
NN(compute) uint32_t nn_compute(uint32_t context);
NN(get_output) uint32_t nn_output(uint32_t context, uint32_t index, void *buffer, uint32_t size, uint32_t *written);
NN(compute_single) uint32_t nn_compute_single(uint32_t context);
NN(get_output_single) uint32_t nn_output_single(uint32_t context, uint32_t index, void *buffer, uint32_t size, uint32_t *written);
NN(fini_single) uint32_t nn_finish_single(uint32_t context);

static inline void nn_must(uint32_t code, const char *what) {
	if (code) {
		fprintf(stderr, "%s: error %u\n", what, code);
		exit(1);
	}
}

#define NN_MUST(call) nn_must((call), #call)

// nn_read gives a file's bytes.
static inline struct nn_bytes nn_read(const char *path) {
	struct nn_bytes b = {0};
	FILE *f = fopen(path, "rb");
	size_t room = 0, n;
	char *data = NULL;
	if (!f) {
		perror(path);
		exit(1);
	}
	do {
		if (b.size == room && !(data = realloc(data, room = room ? 2 * room : 1 << 16))) {
			fprintf(stderr, "%s: too large\n", path);
			exit(1);
		}
		n = fread(data + b.size, 1, room - b.size, f);
		b.size += n;
	} while (n);
	fclose(f);
	b.data = data;
	return b;
}

// nn_open loads a model: a file whose bytes are handed over, or, if there is no such
// file, one by the name that it was preloaded under.
static inline uint32_t nn_open(const char *model, uint32_t encoding, uint32_t target) {
	uint32_t graph;
	FILE *f = fopen(model, "rb");
	if (f) {
		fclose(f);
		struct nn_bytes b = nn_read(model);
		NN_MUST(nn_load(&b, 1, encoding, target, &graph));
		free((void *)b.data);
	} else {
		NN_MUST(nn_load_by_name(model, strlen(model), &graph));
	}
	return graph;
}
