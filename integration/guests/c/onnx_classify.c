// onnx_classify: sorts rows of four features by the model classifier.onnx
// (pkg/accel/onnx/model), all in one batch.
//
//	onnx_classify MODEL TARGET a,b,c,d...
//
// MODEL is a file or a preloaded name, TARGET cpu, gpu or auto. One line a row: the
// class, the probabilities, the logits.
#include "nn.h"

enum { FEATURES = 4, CLASSES = 3 };

static uint32_t target(const char *name) {
	if (!strcmp(name, "gpu"))
		return NN_GPU;
	return strcmp(name, "auto") ? NN_CPU : NN_AUTO;
}

// output allocates as much as the host says is needed.
static void *output(uint32_t context, uint32_t index, size_t want) {
	uint32_t size = 0, written = 0;
	char none;
	uint32_t code = nn_output(context, index, &none, 0, &size);
	if (code != NN_TOO_LARGE || size != want) {
		fprintf(stderr, "output %u: code %u, %u bytes, not %zu\n", index, code, size, want);
		exit(1);
	}
	void *data = malloc(size);
	NN_MUST(nn_output(context, index, data, size, &written));
	if (written != size) {
		fprintf(stderr, "output %u: %u bytes written of %u\n", index, written, size);
		exit(1);
	}
	return data;
}

int main(int argc, char **argv) {
	if (argc < 4) {
		fprintf(stderr, "usage: onnx_classify MODEL TARGET a,b,c,d...\n");
		return 2;
	}
	uint32_t rows = argc - 3, context;
	float *features = calloc(rows * FEATURES, sizeof *features);
	for (uint32_t row = 0; row < rows; row++) {
		float *f = features + row * FEATURES;
		if (sscanf(argv[3 + row], "%f,%f,%f,%f", f, f + 1, f + 2, f + 3) != FEATURES) {
			fprintf(stderr, "%s: want four numbers\n", argv[3 + row]);
			return 2;
		}
	}
	uint32_t graph = nn_open(argv[1], NN_ONNX, target(argv[2]));
	NN_MUST(nn_context(graph, &context));
	uint32_t dims[] = {rows, FEATURES};
	struct nn_tensor x = {dims, 2, NN_F32, features, rows * FEATURES * sizeof(float)};
	NN_MUST(nn_set_input(context, 0, &x));
	NN_MUST(nn_compute(context));

	float *probabilities = output(context, 0, rows * CLASSES * sizeof(float));
	float *logits = output(context, 1, rows * CLASSES * sizeof(float));
	int64_t *labels = output(context, 2, rows * sizeof(int64_t));
	for (uint32_t row = 0; row < rows; row++) {
		float *p = probabilities + row * CLASSES, *l = logits + row * CLASSES;
		printf("class %lld: %.4f %.4f %.4f (%g %g %g)\n", (long long)labels[row], p[0], p[1], p[2], l[0], l[1], l[2]);
	}
	NN_MUST(nn_finalize(context));
	NN_MUST(nn_unload(graph));
	return 0;
}
