// ggml_chat: a conversation with a language model, streamed.
//
//	ggml_chat MODEL TARGET CONFIG TEXT...
//
// MODEL is a file or a preloaded name, TARGET cpu, gpu or auto, CONFIG the metadata. Each
// TEXT is a turn: it follows all that was said before, and the answer follows it. A '|'
// stands behind each token, the code that ended it behind the last, and behind that how many
// tokens of the text were given, made and known before.
#include "nn.h"

static char said[1 << 20]; // the conversation
static uint32_t length;

static void say(const char *text, uint32_t size) {
	if (size > sizeof said - length) {
		fprintf(stderr, "too much was said\n");
		exit(1);
	}
	memcpy(said + length, text, size);
	length += size;
}

// number gives a counter of the second output.
static long number(const char *counters, const char *name) {
	const char *at = strstr(counters, name);
	if (!at) {
		fprintf(stderr, "no %s in %s\n", name, counters);
		exit(1);
	}
	return strtol(at + strlen(name) + 2, NULL, 10);
}

static void turn(uint32_t context) {
	const uint32_t dims[] = {1};
	struct nn_tensor prompt = {dims, 1, NN_U8, said, length};
	char text[1024], counters[1024];
	uint32_t size, code;
	NN_MUST(nn_set_input(context, 0, &prompt));
	while (!(code = nn_compute_single(context))) {
		NN_MUST(nn_output_single(context, 0, text, sizeof text, &size));
		printf("%.*s|", (int)size, text);
		fflush(stdout);
		say(text, size);
	}
	if (code != 102) { // a prompt too long made no output
		NN_MUST(nn_output(context, 1, counters, sizeof counters - 1, &size));
		counters[size] = 0;
		printf("%u (%ld %ld %ld)\n", code, number(counters, "input_tokens"), number(counters, "output_tokens"), number(counters, "cached_tokens"));
	} else {
		printf("%u\n", code);
	}
	NN_MUST(nn_finish_single(context));
}

static uint32_t load(const char *model, const char *target, const char *config) {
	uint32_t graph, kind = !strcmp(target, "gpu") ? NN_GPU : strcmp(target, "auto") ? NN_CPU : NN_AUTO;
	FILE *f = fopen(model, "rb");
	if (!f) {
		NN_MUST(nn_load_by_name_with_config(model, strlen(model), config, strlen(config), &graph));
		return graph;
	}
	fclose(f);
	struct nn_bytes parts[] = {nn_read(model), {config, strlen(config)}};
	NN_MUST(nn_load(parts, 2, NN_GGML, kind, &graph));
	free((void *)parts[0].data);
	return graph;
}

int main(int argc, char **argv) {
	uint32_t context;
	if (argc < 5) {
		fprintf(stderr, "usage: ggml_chat MODEL TARGET CONFIG TEXT...\n");
		return 2;
	}
	uint32_t graph = load(argv[1], argv[2], argv[3]);
	NN_MUST(nn_context(graph, &context));
	for (int i = 4; i < argc; i++) {
		say(argv[i], strlen(argv[i]));
		turn(context);
	}
	NN_MUST(nn_finalize(context));
	NN_MUST(nn_unload(graph));
	return 0;
}
