// ggml_embed: how near texts are to each other, by their embeddings.
//
//	ggml_embed MODEL TEXT TEXT...
//
// MODEL is a file or a preloaded name. For each text but the first, the cosine of its
// embedding and the first one's.
#include "nn.h"

enum { MOST = 8192 };

// embed gives the embedding of a text: output 0 is {"n_embedding":N,"embedding":[...]}.
static uint32_t embed(uint32_t context, const char *text, float *values) {
	static char json[MOST * 16];
	const uint32_t dims[] = {1};
	struct nn_tensor input = {dims, 1, NN_U8, text, strlen(text)};
	uint32_t size, n = 0;
	NN_MUST(nn_set_input(context, 0, &input));
	NN_MUST(nn_compute(context));
	NN_MUST(nn_output(context, 0, json, sizeof json - 1, &size));
	json[size] = 0;
	const char *count = strstr(json, "\"n_embedding\":"), *at = strchr(json, '[');
	if (!count || !at) {
		fprintf(stderr, "no embedding: %s\n", json);
		exit(1);
	}
	for (char *end; n < MOST; at = end) {
		values[n++] = strtof(at + 1, &end);
		if (*end != ',')
			break;
	}
	if (n != strtoul(count + strlen("\"n_embedding\":"), NULL, 10)) {
		fprintf(stderr, "%u values of %s\n", n, count);
		exit(1);
	}
	return n;
}

int main(int argc, char **argv) {
	static float first[MOST], other[MOST];
	static const char config[] = "{\"embedding\":true,\"pooling-type\":\"mean\"}";
	uint32_t graph, context;
	const uint32_t dims[] = {1};
	struct nn_tensor metadata = {dims, 1, NN_U8, config, sizeof config - 1};
	if (argc < 4) {
		fprintf(stderr, "usage: ggml_embed MODEL TEXT TEXT...\n");
		return 2;
	}
	graph = nn_open(argv[1], NN_GGML, NN_CPU);
	NN_MUST(nn_context(graph, &context));
	NN_MUST(nn_set_input(context, 1, &metadata));
	uint32_t n = embed(context, argv[2], first);
	for (int i = 3; i < argc; i++) {
		float cosine = 0; // both are of length 1
		embed(context, argv[i], other);
		for (uint32_t j = 0; j < n; j++)
			cosine += first[j] * other[j];
		printf("%s: %.3f\n", argv[i], cosine);
	}
	NN_MUST(nn_finalize(context));
	NN_MUST(nn_unload(graph));
	return 0;
}
