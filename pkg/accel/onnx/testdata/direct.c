// direct: ONNX Runtime as a C program calls it, to compare runw with.
//
//	direct vad LIBRARY MODEL FRAMES    speech probability of each frame, in hexadecimal
//	direct time LIBRARY MODEL ROWS WIDTH N THREADS
//	                                   median of N runs on x [ROWS,WIDTH], in nanoseconds
//
// The function table is that of onnxruntime_c_api.h, whose order never changes.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void *(*fn)();
static fn *api;

enum { MESSAGE = 2, ENV = 3, SESSION = 7, RUN = 9, OPTIONS = 10, THREADS = 24, VALUE = 49, DATA = 51, MEMORY = 69, FREE = 96 };
enum { FLOAT = 1, INT64 = 7 };

#define MUST(call) must((call), #call)

static void must(void *status, const char *what) {
	if (status) {
		fprintf(stderr, "%s: %s\n", what, (const char *)api[MESSAGE](status));
		exit(1);
	}
}

static void *env, *session, *memory;

// threads is 0 for the library's choice.
static void open_model(const char *library, const char *model, int threads) {
	struct base {
		const void *(*api)(uint32_t version);
		const char *(*version)(void);
	};
	void *handle = dlopen(library, RTLD_NOW);
	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	const struct base *(*base)(void) = (const struct base *(*)(void))dlsym(handle, "OrtGetApiBase");
	api = (fn *)base()->api(17);
	void *options;
	MUST(api[ENV](3, "direct", &env));
	MUST(api[OPTIONS](&options));
	if (threads > 0)
		MUST(api[THREADS](options, threads));
	MUST(api[SESSION](env, model, options, &session));
	MUST(api[MEMORY](0, 0, &memory));
}

static void *value(void *data, size_t size, const int64_t *dims, size_t rank, int type) {
	void *v;
	MUST(api[VALUE](memory, data, size, dims, rank, type, &v));
	return v;
}

// Numbers that need no rounding, so that every program makes the same ones.
static float next(uint32_t *state) {
	*state = *state * 1664525 + 1013904223;
	return (float)(int32_t)(*state >> 16) / 32768 - 1;
}

// Ten frames of silence, then noise whose loudness changes from frame to frame.
static void vad(int frames) {
	static float input[512], state[256];
	int64_t rate = 16000, dims[] = {1, 512}, state_dims[] = {2, 1, 128};
	const char *in[] = {"input", "state", "sr"}, *out[] = {"output", "stateN"};
	uint32_t seed = 1;
	for (int frame = 0; frame < frames; frame++) {
		for (int i = 0; i < 512; i++)
			input[i] = frame < 10 ? 0 : next(&seed) * (float)(frame % 8) / 8;
		void *inputs[] = {value(input, sizeof input, dims, 2, FLOAT), value(state, sizeof state, state_dims, 3, FLOAT),
				  value(&rate, sizeof rate, NULL, 0, INT64)};
		void *outputs[2] = {0};
		float *p;
		MUST(api[RUN](session, NULL, in, inputs, (size_t)3, out, (size_t)2, outputs));
		MUST(api[DATA](outputs[1], &p));
		memcpy(state, p, sizeof state);
		MUST(api[DATA](outputs[0], &p));
		printf("%a\n", p[0]);
		for (int i = 0; i < 3; i++)
			api[FREE](inputs[i]);
		for (int i = 0; i < 2; i++)
			api[FREE](outputs[i]);
	}
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

static void measure(int rows, int width, int n) {
	int size = rows * width;
	float *input = malloc(sizeof(float) * size);
	int64_t dims[] = {rows, width}, *times = malloc(sizeof(int64_t) * n);
	const char *in[] = {"x"}, *out[] = {"y"};
	for (int i = 0; i < size; i++)
		input[i] = (float)(i % 17) - 8;
	for (int i = -n / 10 - 1; i < n; i++) {
		int64_t start = now();
		void *x = value(input, sizeof(float) * size, dims, 2, FLOAT), *y = NULL;
		MUST(api[RUN](session, NULL, in, &x, (size_t)1, out, (size_t)1, &y));
		api[FREE](x);
		api[FREE](y);
		if (i >= 0)
			times[i] = now() - start;
	}
	qsort(times, n, sizeof *times, ascending);
	printf("%lld\n", (long long)times[n / 2]);
}

int main(int argc, char **argv) {
	if (argc == 5 && !strcmp(argv[1], "vad")) {
		open_model(argv[2], argv[3], 0);
		vad(atoi(argv[4]));
	} else if (argc == 8 && !strcmp(argv[1], "time") && atoi(argv[4]) > 0 && atoi(argv[5]) > 0 && atoi(argv[6]) > 0) {
		open_model(argv[2], argv[3], atoi(argv[7]));
		measure(atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	} else {
		fprintf(stderr, "usage: direct vad LIBRARY MODEL FRAMES | direct time LIBRARY MODEL ROWS WIDTH N THREADS\n");
		return 2;
	}
	return 0;
}
