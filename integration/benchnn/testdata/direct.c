// What the sandbox is compared with: a program that calls libllama itself. It does what
// guests/c/inference.c's verb "measure" asks for, and prints the same line.
//
//	direct LIBRARY-DIRECTORY LIBLLAMA MODEL CONTEXT THREADS PROMPT TOKENS REPACK
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// The structures pass by value; only the beginning of each is used, and its sizes are
// those of the library's version that `make accel-libs` fetches.
struct model_params { void *devices, *overrides; int32_t gpu_layers; char unused[54]; bool extra_buffers; char rest[5]; };
struct context_params { uint32_t context, batch, ubatch, sequences; char rest[144]; };
struct batch { char bytes[56]; };

_Static_assert(sizeof(struct model_params) == 80 && offsetof(struct model_params, extra_buffers) == 74 && sizeof(struct context_params) == 160, "sizes");

static void *handle;

static void *function(const char *name) {
	void *f = dlsym(handle, name);
	if (!f)
		f = dlsym(RTLD_DEFAULT, name);
	if (!f) {
		fprintf(stderr, "%s: not found\n", name);
		exit(1);
	}
	return f;
}

#define CALL(result, name, ...) ((result(*)(__VA_ARGS__))function(name))

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void quiet(int level, const char *text, void *data) { (void)level, (void)text, (void)data; }

int main(int argc, char **argv) {
	if (argc != 9)
		return 2;
	handle = dlopen(argv[2], RTLD_NOW | RTLD_GLOBAL);
	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	CALL(void, "llama_log_set", void *, void *)(quiet, NULL);
	CALL(void, "ggml_backend_load_all_from_path", const char *)(argv[1]);
	CALL(void, "llama_backend_init", void)();
	struct model_params mp = CALL(struct model_params, "llama_model_default_params", void)();
	bool extra = mp.extra_buffers; // the library's own default
	mp.extra_buffers = atoi(argv[8]) != 0;
	void *model = CALL(void *, "llama_model_load_from_file", const char *, struct model_params)(argv[3], mp);
	struct context_params cp = CALL(struct context_params, "llama_context_default_params", void)();
	if (!model || !extra || cp.context != 512 || cp.batch != 2048 || cp.ubatch != 512 || cp.sequences != 1) {
		fprintf(stderr, "the model or the library is not the expected one\n");
		return 1;
	}
	cp.context = atoi(argv[4]);
	void *context = CALL(void *, "llama_init_from_model", void *, struct context_params)(model, cp);
	int threads = atoi(argv[5]), length = atoi(argv[6]), count = atoi(argv[7]), made = 0;
	CALL(void, "llama_set_n_threads", void *, int32_t, int32_t)(context, threads, threads);
	void *vocab = CALL(void *, "llama_model_get_vocab", void *)(model);
	void *greedy = CALL(void *, "llama_sampler_init_greedy", void)();
	int32_t (*decode)(void *, struct batch) = function("llama_decode");
	struct batch (*batch)(int32_t *, int32_t) = function("llama_batch_get_one");
	int32_t (*sample)(void *, void *, int32_t) = function("llama_sampler_sample");
	int32_t (*piece)(void *, int32_t, char *, int32_t, int32_t, bool) = function("llama_token_to_piece");
	char *prompt = malloc(length + 1), text[1024];
	int32_t *tokens = calloc(length + 16, sizeof *tokens);
	for (int i = 0; i < length; i++)
		prompt[i] = 'a' + i % 26;
	double start = now(), first = 0;
	int n = CALL(int32_t, "llama_tokenize", void *, const char *, int32_t, int32_t *, int32_t, bool, bool)(vocab, prompt, length, tokens, length + 16, true, true);
	if (!context || n <= 0 || decode(context, batch(tokens, n)) != 0) {
		fprintf(stderr, "the prompt fails\n");
		return 1;
	}
	while (made < count) {
		int32_t token = sample(greedy, context, -1);
		piece(vocab, token, text, sizeof text, 0, true);
		if (made++ == 0)
			first = now();
		if (made < count && decode(context, batch(&token, 1)) != 0)
			return 1;
	}
	printf("%.6f %.6f %d 0\n", first - start, now() - first, made - 1);
	return 0;
}
