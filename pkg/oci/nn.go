package oci

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// AnnotationNNPreload names models for a Wasm guest; see NNModels.
const AnnotationNNPreload = "run.runw.nn-preload"

// EnvNNPreload is the variable in which crun's users and WasmEdge's have the same.
const EnvNNPreload = "WASMEDGE_WASINN_PRELOAD"

// NNModel is a model that a guest loads by its name.
type NNModel struct {
	Name string
	// Encoding and Target are WASI-NN's numbers.
	Encoding, Target uint32
	// Path is the model's clean absolute path inside the container.
	Path string
}

// What a preload may name, in lower case: the encodings that runw can compute and
// the targets.
var (
	nnEncodings = []nnWord{{"ggml", 6}, {"onnx", 1}}
	nnTargets   = []nnWord{{"cpu", 0}, {"gpu", 1}, {"auto", 3}}
)

type nnWord struct {
	word   string
	number uint32
}

// maxNNModels bounds what goes through the handoff.
const maxNNModels = 256

// NNModels reads the models of a process's environment and of the container's
// annotations: ALIAS:ENCODING:TARGET:PATH, several with spaces or commas between
// them. ENCODING is ggml or onnx, TARGET cpu, gpu or auto, in any case; a relative
// PATH begins at cwd. Of an alias that is in both, the annotation's is taken, for
// an image cannot know where it runs. Errors are *FieldError.
func NNModels(env []string, cwd string, annotations map[string]string) ([]NNModel, error) {
	var fromEnv, list []NNModel
	for i, kv := range slices.Backward(env) {
		value, ok := strings.CutPrefix(kv, EnvNNPreload+"=")
		if !ok {
			continue
		}
		var err error
		if fromEnv, err = parseNNModels(value, cwd); err != nil {
			return nil, &FieldError{fmt.Sprintf("process.env[%d]", i), fmt.Errorf("%s: %w", EnvNNPreload, err)}
		}
		break // the last of several counts
	}
	if value, ok := annotations[AnnotationNNPreload]; ok {
		var err error
		list, err = parseNNModels(value, cwd)
		if err == nil && len(list) == 0 {
			err = errors.New("is empty")
		}
		if err != nil {
			return nil, &FieldError{fmt.Sprintf("annotations[%q]", AnnotationNNPreload), err}
		}
	}
	for _, m := range fromEnv {
		if !slices.ContainsFunc(list, func(n NNModel) bool { return n.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list, nil
}

func parseNNModels(value, cwd string) ([]NNModel, error) {
	var list []NNModel
	for _, entry := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		m, err := parseNNModel(entry, cwd)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q: %w", entry, err)
		case slices.ContainsFunc(list, func(n NNModel) bool { return n.Name == m.Name }):
			return nil, fmt.Errorf("%q: the name %s is given twice", entry, m.Name)
		case len(list) == maxNNModels:
			return nil, fmt.Errorf("more than %d models", maxNNModels)
		}
		list = append(list, m)
	}
	return list, nil
}

func parseNNModel(entry, cwd string) (NNModel, error) {
	parts := strings.Split(entry, ":")
	if len(parts) < 4 || slices.Contains(parts, "") {
		return NNModel{}, errors.New("want ALIAS:ENCODING:TARGET:PATH")
	}
	m := NNModel{Name: parts[0], Path: parts[3]}
	var err error
	switch m.Encoding, err = nnNumber("encoding", parts[1], nnEncodings); {
	case err != nil:
		return m, err
	case len(parts) > 4:
		return m, fmt.Errorf("a model of encoding %s is one file", parts[1])
	case hasNUL(entry):
		return m, errNUL
	}
	if m.Target, err = nnNumber("target", parts[2], nnTargets); err != nil {
		return m, err
	}
	if !path.IsAbs(m.Path) {
		m.Path = path.Join(cwd, m.Path)
	}
	// Clean, also so that ".." is one of the path and not of a symlink in it.
	m.Path = path.Clean(m.Path)
	if m.Path == "/" {
		return m, errors.New("the path is no file's")
	}
	return m, nil
}

func nnNumber(what, word string, list []nnWord) (uint32, error) {
	var known []string
	for _, w := range list {
		if strings.EqualFold(w.word, word) {
			return w.number, nil
		}
		known = append(known, w.word)
	}
	return 0, fmt.Errorf("%s %q is none of %s", what, word, strings.Join(known, ", "))
}
