package ggml

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/ebitengine/purego"
)

// Pointers into the library that Go never follows.
type (
	modelPtr   uintptr
	contextPtr uintptr
	vocabPtr   uintptr
	memoryPtr  uintptr
	samplerPtr uintptr
	devicePtr  uintptr
	regPtr     uintptr
	poolPtr    uintptr
	cFile      uintptr
)

// functions are what is called of the library, by the names in its headers
// llama.h and ggml-backend.h. A bool parameter is one byte in either ABI.
type functions struct {
	version func() string                `c:"llama_version"`
	commit  func() string                `c:"ggml_commit"`
	init    func()                       `c:"llama_backend_init"`
	setLog  func(callback, data uintptr) `c:"llama_log_set"`

	openFile  func(fd int32, mode string) cFile `c:"fdopen"`
	closeFile func(cFile) int32                 `c:"fclose"`

	loadBackend  func(path string) regPtr            `c:"ggml_backend_load"`
	deviceCount  func() uint64                       `c:"ggml_backend_dev_count"`
	device       func(index uint64) devicePtr        `c:"ggml_backend_dev_get"`
	deviceProps  func(devicePtr, *deviceProps)       `c:"ggml_backend_dev_get_props"`
	deviceBuft   func(devicePtr) uintptr             `c:"ggml_backend_dev_buffer_type"`
	registryOf   func(devicePtr) regPtr              `c:"ggml_backend_dev_backend_reg"`
	procAddress  func(r regPtr, name string) uintptr `c:"ggml_backend_reg_get_proc_address"`
	poolDefaults func(p *poolParams, threads int32)  `c:"ggml_threadpool_params_init"`
	typeSize     func(kind uint32) uint64            `c:"ggml_type_size"`
	blockSize    func(kind uint32) int64             `c:"ggml_blck_size"`

	modelDefaults   func() params                    `c:"llama_model_default_params"`
	contextDefaults func() params                    `c:"llama_context_default_params"`
	loadModel       func(f cFile, p params) modelPtr `c:"llama_model_load_from_file_ptr"`
	freeModel       func(modelPtr)                   `c:"llama_model_free"`
	vocab           func(modelPtr) vocabPtr          `c:"llama_model_get_vocab"`
	trained         func(modelPtr) int32             `c:"llama_model_n_ctx_train"`
	embedding       func(modelPtr) int32             `c:"llama_model_n_embd_out"`
	hasEncoder      func(modelPtr) bool              `c:"llama_model_has_encoder"`
	hasDecoder      func(modelPtr) bool              `c:"llama_model_has_decoder"`

	newContext    func(m modelPtr, p params) contextPtr                     `c:"llama_init_from_model"`
	freeContext   func(contextPtr)                                          `c:"llama_free"`
	contextSize   func(contextPtr) uint32                                   `c:"llama_n_ctx"`
	batchSize     func(contextPtr) uint32                                   `c:"llama_n_batch"`
	pooling       func(contextPtr) int32                                    `c:"llama_pooling_type"`
	setThreads    func(c contextPtr, generation, batch int32)               `c:"llama_set_n_threads"`
	attachPool    func(c contextPtr, generation, batch poolPtr)             `c:"llama_attach_threadpool"`
	setEmbeddings func(c contextPtr, on bool)                               `c:"llama_set_embeddings"`
	setAbort      func(c contextPtr, callback uintptr, data *atomic.Uint32) `c:"llama_set_abort_callback"`
	memory        func(contextPtr) memoryPtr                                `c:"llama_get_memory"`
	memoryClear   func(m memoryPtr, data bool)                              `c:"llama_memory_clear"`
	memoryRemove  func(m memoryPtr, sequence, from, to int32) bool          `c:"llama_memory_seq_rm"`
	memoryShift   func(m memoryPtr, sequence, from, to, delta int32)        `c:"llama_memory_seq_add"`
	canShift      func(memoryPtr) bool                                      `c:"llama_memory_can_shift"`

	batchOf          func(tokens *int32, n int32) batch          `c:"llama_batch_get_one"`
	decode           func(c contextPtr, b batch) int32           `c:"llama_decode"`
	encode           func(c contextPtr, b batch) int32           `c:"llama_encode"`
	embeddingOf      func(c contextPtr, sequence int32) *float32 `c:"llama_get_embeddings_seq"`
	embeddingOfToken func(c contextPtr, index int32) *float32    `c:"llama_get_embeddings_ith"`

	vocabSize func(vocabPtr) int32                                                                              `c:"llama_vocab_n_tokens"`
	isEnd     func(v vocabPtr, token int32) bool                                                                `c:"llama_vocab_is_eog"`
	tokenize  func(v vocabPtr, text *byte, length int32, tokens *int32, limit int32, special, parse bool) int32 `c:"llama_tokenize"`
	piece     func(v vocabPtr, token int32, buffer *byte, length, strip int32, special bool) int32              `c:"llama_token_to_piece"`

	samplerFunctions
}

// samplerFunctions make the parts of a sampler.
type samplerFunctions struct {
	sample      func(s samplerPtr, c contextPtr, index int32) int32 `c:"llama_sampler_sample"`
	accept      func(s samplerPtr, token int32)                     `c:"llama_sampler_accept"`
	freeSampler func(samplerPtr)                                    `c:"llama_sampler_free"`
	chain       func(noPerf bool) samplerPtr                        `c:"llama_sampler_chain_init"`
	chainAdd    func(chain, s samplerPtr)                           `c:"llama_sampler_chain_add"`

	greedy    func() samplerPtr                                                                                     `c:"llama_sampler_init_greedy"`
	dist      func(seed uint32) samplerPtr                                                                          `c:"llama_sampler_init_dist"`
	topK      func(k int32) samplerPtr                                                                              `c:"llama_sampler_init_top_k"`
	topP      func(p float32, keep uint64) samplerPtr                                                               `c:"llama_sampler_init_top_p"`
	minP      func(p float32, keep uint64) samplerPtr                                                               `c:"llama_sampler_init_min_p"`
	typical   func(p float32, keep uint64) samplerPtr                                                               `c:"llama_sampler_init_typical"`
	topNSigma func(n float32) samplerPtr                                                                            `c:"llama_sampler_init_top_n_sigma"`
	temp      func(t, delta, exponent float32) samplerPtr                                                           `c:"llama_sampler_init_temp_ext"`
	xtc       func(p, t float32, keep uint64, seed uint32) samplerPtr                                               `c:"llama_sampler_init_xtc"`
	mirostat  func(tokens int32, seed uint32, tau, eta float32, m int32) samplerPtr                                 `c:"llama_sampler_init_mirostat"`
	mirostat2 func(seed uint32, tau, eta float32) samplerPtr                                                        `c:"llama_sampler_init_mirostat_v2"`
	grammar   func(v vocabPtr, text, root string) samplerPtr                                                        `c:"llama_sampler_init_grammar"`
	penalties func(tokens, last int32, repeat, frequency, presence float32) samplerPtr                              `c:"llama_sampler_init_penalties"`
	dry       func(v vocabPtr, multiplier, base float32, allowed, last int32, breakers **byte, n uint64) samplerPtr `c:"llama_sampler_init_dry"`
	bias      func(tokens, n int32, biases *logitBias) samplerPtr                                                   `c:"llama_sampler_init_logit_bias"`
}

// logitBias is llama_logit_bias.
type logitBias struct {
	token int32
	bias  float32
}

// library is a libllama that was loaded into this process. It is never unloaded:
// its threads, and the drivers under it, do not survive that.
type library struct {
	functions
	path   string
	handle uintptr
	// strlen is libc's: see abort.go.
	strlen uintptr
	layout layout
}

// openLibrary loads the library and everything that is called of it. All that is
// missing is named at once: then it is another version than this binding is for.
func openLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	l := &library{path: path, handle: handle}
	var missing []string
	resolve(reflect.ValueOf(&l.functions).Elem(), handle, &missing)
	if l.strlen, err = purego.Dlsym(handle, "strlen"); err != nil {
		missing = append(missing, "strlen")
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s has no %s: runw is made for llama.cpp %s", path, strings.Join(missing, ", "), testedVersion)
	}
	return l, nil
}

// resolve sets each field to the function that its tag names.
func resolve(fields reflect.Value, handle uintptr, missing *[]string) {
	for i := range fields.NumField() {
		field := fields.Type().Field(i)
		// The fields are not exported: this is how reflection may set them.
		pointer := reflect.NewAt(field.Type, fields.Field(i).Addr().UnsafePointer())
		name := field.Tag.Get("c")
		if name == "" {
			resolve(pointer.Elem(), handle, missing)
			continue
		}
		if symbol, err := purego.Dlsym(handle, name); err != nil {
			*missing = append(*missing, name)
		} else {
			purego.RegisterFunc(pointer.Interface(), symbol)
		}
	}
}

// dir is where the library and its parts lie.
func (l *library) dir() string { return filepath.Dir(l.path) }
