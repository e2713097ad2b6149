// onnx_probe: what a hostile or a hasty guest does with ONNX models. It prints the
// codes that it gets, and ends with 0 whatever they are.
//
//	onnx_probe lies CLASSIFIER      tensors that are not what they say
//	onnx_probe corrupt CLASSIFIER   each beginning of a model, and each byte changed
//	onnx_probe loads MODEL N        N loads without one unload
//	onnx_probe time MODEL ROWS WIDTH N   median of N computations of x [ROWS,WIDTH], in nanoseconds
//	onnx_probe turns ENDLESS N      a loop of N turns
//	onnx_probe hold NAME WIDTH CONFIG  one computation by a preloaded model, and then nothing
//	onnx_probe vad MODEL FRAMES     speech probability of each frame, in hexadecimal
#include "nn.h"
#include <time.h>
#include <unistd.h>

static void lies(uint32_t graph) {
	static const float row[8] = {1, 0, 0, 0, 0, 0, 1, 0};
	static const uint32_t two[] = {2, 4}, flat[] = {8}, turned[] = {4, 2}, huge[] = {1u << 31, 1u << 31}, most[] = {~0u, ~0u, ~0u, ~0u};
	static const uint32_t empty[] = {0, 4};
	const struct {
		const char *name;
		uint32_t index;
		struct nn_tensor t;
	} tests[] = {
	    {"right", 0, {two, 2, NN_F32, row, 32}},
	    {"short", 0, {two, 2, NN_F32, row, 31}},
	    {"long", 0, {two, 2, NN_F32, row, 36}},
	    {"overflow", 0, {huge, 2, NN_F32, row, 0}},
	    {"most", 0, {most, 4, NN_F32, row, 32}},
	    {"flat", 0, {flat, 1, NN_F32, row, 32}},
	    {"turned", 0, {turned, 2, NN_F32, row, 32}},
	    {"scalar", 0, {two, 0, NN_F32, row, 4}},
	    {"empty", 0, {empty, 2, NN_F32, row, 0}},
	    {"whole numbers", 0, {two, 2, NN_I32, row, 32}},
	    {"no type", 0, {two, 2, 99, row, 32}},
	    {"index", 1, {two, 2, NN_F32, row, 32}},
	    {"dims outside", 0, {(const uint32_t *)0xfffffff0, 2, NN_F32, row, 32}},
	    {"data outside", 0, {two, 2, NN_F32, (const void *)0xfffffff0, 32}},
	    {"many dims", 0, {two, 1u << 30, NN_F32, row, 32}},
	    {"right", 0, {two, 2, NN_F32, row, 32}},
	};
	uint32_t context, written;
	float logits[6];
	NN_MUST(nn_context(graph, &context));
	printf("compute without input: %u\n", nn_compute(context));
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		printf("%s: %u\n", tests[i].name, nn_set_input(context, tests[i].index, &tests[i].t));
	printf("output before compute: %u\n", nn_output(context, 1, logits, sizeof logits, &written));
	printf("compute: %u\n", nn_compute(context));
	printf("output 3: %u\n", nn_output(context, 3, logits, sizeof logits, &written));
	printf("output 1: %u\n", nn_output(context, 1, logits, sizeof logits, &written));
	for (int i = 0; i < 6; i++)
		printf("%g%c", logits[i], i < 5 ? ' ' : '\n');
}

static void corrupt(const char *path) {
	struct nn_bytes whole = nn_read(path);
	char *copy = malloc(whole.size);
	uint32_t graph, loaded = 0, refused = 0;
	for (uint32_t n = 0; n < 2 * whole.size; n++) {
		memcpy(copy, whole.data, whole.size);
		struct nn_bytes part = {copy, whole.size};
		if (n < whole.size)
			part.size = n;
		else
			copy[n - whole.size] ^= 1 << n % 8;
		if (nn_load(&part, 1, NN_ONNX, NN_CPU, &graph)) {
			refused++;
		} else {
			loaded++;
			NN_MUST(nn_unload(graph));
		}
	}
	printf("%s: %u\n", refused >= whole.size / 2 ? "most are refused" : "hardly any is refused", refused + loaded - 2 * whole.size);
	NN_MUST(nn_load(&whole, 1, NN_ONNX, NN_CPU, &graph));
	printf("the whole model loads\n");
}

static void loads(const char *path, int n) {
	struct nn_bytes model = nn_read(path);
	uint32_t graph, last = 0, first = 0;
	int done = 0;
	for (int i = 0; i < n; i++) {
		uint32_t code = nn_load(&model, 1, NN_ONNX, NN_CPU, &graph);
		done += code == 0;
		if (code && !first)
			first = code;
		last = code;
	}
	printf("%d of %d, first code %u, last code %u\n", done, n, first, last);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void measure(uint32_t graph, uint32_t rows, uint32_t width, int n) {
	uint32_t size = rows * width;
	float *x = malloc(size * sizeof *x), *y = malloc(size * sizeof *y);
	int64_t *times = malloc(n * sizeof *times);
	uint32_t dims[] = {rows, width}, context, written;
	struct nn_tensor t = {dims, 2, NN_F32, x, size * sizeof *x};
	for (uint32_t i = 0; i < size; i++)
		x[i] = (float)(i % 17) - 8;
	NN_MUST(nn_context(graph, &context));
	for (int i = -n / 10 - 1; i < n; i++) {
		int64_t start = now();
		NN_MUST(nn_set_input(context, 0, &t));
		NN_MUST(nn_compute(context));
		NN_MUST(nn_output(context, 0, y, size * sizeof *y, &written));
		if (i >= 0)
			times[i] = now() - start;
	}
	qsort(times, n, sizeof *times, ascending);
	printf("%lld\n", (long long)times[n / 2]);
}

static void turns(uint32_t graph, int64_t n) {
	float x = 1, y = 0;
	struct nn_tensor in[] = {{NULL, 0, NN_F32, &x, sizeof x}, {NULL, 0, NN_I64, &n, sizeof n}};
	uint32_t context, written = 0;
	NN_MUST(nn_context(graph, &context));
	for (int i = 0; i < 2; i++)
		NN_MUST(nn_set_input(context, i, in + i));
	printf("compute: %u\n", nn_compute(context));
	printf("output: %u\n", nn_output(context, 0, &y, sizeof y, &written));
	printf("%g\n", y);
}

static void hold(const char *name, uint32_t width, const char *config) {
	uint32_t graph;
	NN_MUST(nn_load_by_name_with_config(name, strlen(name), config, strlen(config), &graph));
	measure(graph, 1, width, 1);
	printf("ready\n");
	for (;;)
		sleep(1000);
}

// Ten frames of silence, then noise whose loudness changes from frame to frame, in
// numbers that need no rounding.
static void vad(uint32_t graph, int frames) {
	static float input[512], state[256];
	static const uint32_t dims[] = {1, 512}, state_dims[] = {2, 1, 128};
	static const int64_t rate = 16000;
	const struct nn_tensor in[] = {{dims, 2, NN_F32, input, sizeof input}, {state_dims, 3, NN_F32, state, sizeof state}, {NULL, 0, NN_I64, &rate, sizeof rate}};
	uint32_t context, written, seed = 1;
	NN_MUST(nn_context(graph, &context));
	for (int frame = 0; frame < frames; frame++) {
		float probability;
		for (int i = 0; i < 512; i++) {
			if (frame < 10)
				continue;
			seed = seed * 1664525 + 1013904223;
			input[i] = ((float)(int32_t)(seed >> 16) / 32768 - 1) * (float)(frame % 8) / 8;
		}
		for (int i = 0; i < 3; i++)
			NN_MUST(nn_set_input(context, i, in + i));
		NN_MUST(nn_compute(context));
		NN_MUST(nn_output(context, 0, &probability, sizeof probability, &written));
		NN_MUST(nn_output(context, 1, state, sizeof state, &written));
		printf("%a\n", probability);
	}
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "lies"))
		lies(nn_open(argv[2], NN_ONNX, NN_CPU));
	else if (argc == 3 && !strcmp(argv[1], "corrupt"))
		corrupt(argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "loads"))
		loads(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "turns"))
		turns(nn_open(argv[2], NN_ONNX, NN_CPU), atoll(argv[3]));
	else if (argc == 5 && !strcmp(argv[1], "hold") && atoi(argv[3]) > 0)
		hold(argv[2], atoi(argv[3]), argv[4]);
	else if (argc == 4 && !strcmp(argv[1], "vad"))
		vad(nn_open(argv[2], NN_ONNX, NN_CPU), atoi(argv[3]));
	else if (argc == 6 && !strcmp(argv[1], "time") && atoi(argv[3]) > 0 && atoi(argv[4]) > 0 && atoi(argv[5]) > 0)
		measure(nn_open(argv[2], NN_ONNX, NN_CPU), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	else {
		fprintf(stderr, "usage: onnx_probe lies|corrupt MODEL, loads MODEL N, turns|vad MODEL N, time MODEL ROWS WIDTH N, hold NAME WIDTH CONFIG\n");
		return 2;
	}
	return 0;
}
