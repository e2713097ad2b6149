package oci

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestNNModels(t *testing.T) {
	llama := NNModel{"default", 6, 3, "/models/llama.gguf"}
	for _, row := range []struct {
		env        []string
		annotation string // "-": none
		want       []NNModel
		err        string
	}{
		{nil, "-", nil, ""},
		{[]string{"WASMEDGE_WASINN_PRELOAD="}, "-", nil, ""},
		{[]string{"WASMEDGE_WASINN_PRELOAD=default:GGML:AUTO:/models/llama.gguf"}, "-", []NNModel{llama}, ""},
		{[]string{"WASMEDGE_WASINN_PRELOAD=broken", "WASMEDGE_WASINN_PRELOAD=default:ggml:Auto:/models//x/../llama.gguf"}, "-", []NNModel{llama}, ""},
		{nil, "default:GGML:AUTO:/models/llama.gguf", []NNModel{llama}, ""},
		{nil, " default:GGML:AUTO:/models/llama.gguf, e:onnx:CPU:m.onnx g:ggml:gpu:../up ,", []NNModel{llama, {"e", 1, 0, "/srv/m.onnx"}, {"g", 6, 1, "/up"}}, ""},
		{[]string{"WASMEDGE_WASINN_PRELOAD=default:onnx:cpu:/image,other:onnx:cpu:/o"}, "default:GGML:AUTO:/models/llama.gguf",
			[]NNModel{llama, {"other", 1, 0, "/o"}}, ""},

		{[]string{"A=b", "WASMEDGE_WASINN_PRELOAD=default"}, "-", nil, `process.env[1]: WASMEDGE_WASINN_PRELOAD: "default": want ALIAS:ENCODING:TARGET:PATH`},
		{nil, "", nil, `annotations["run.runw.nn-preload"]: is empty`},
		{nil, " , ", nil, "is empty"},
		{nil, "a:ggml:auto", nil, "want ALIAS:ENCODING:TARGET:PATH"},
		{nil, "a:ggml:auto:", nil, "want ALIAS:ENCODING:TARGET:PATH"},
		{nil, ":ggml:auto:/m", nil, "want ALIAS:ENCODING:TARGET:PATH"},
		{nil, "a:ggml:auto:/m:/n", nil, "a model of encoding ggml is one file"},
		{nil, "a:whisper:auto:/m", nil, `encoding "whisper" is none of ggml, onnx`},
		{nil, "a:ggml:tpu:/m", nil, `target "tpu" is none of cpu, gpu, auto`},
		{nil, "a:ggml:cpu:/", nil, "no file's"},
		{nil, "a:ggml:cpu:/m\x00", nil, "contains a NUL byte"},
		{nil, "a:ggml:cpu:/m,a:ggml:cpu:/n", nil, "the name a is given twice"},
		{nil, strings.Repeat("a:ggml:cpu:/m,", 2), nil, "given twice"},
	} {
		annotations := map[string]string{AnnotationNNPreload: row.annotation}
		if row.annotation == "-" {
			annotations = nil
		}
		got, err := NNModels(row.env, "/srv", annotations)
		var field *FieldError
		switch {
		case row.err != "":
			if !errors.As(err, &field) || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%q %q: error %v, want %s", row.env, row.annotation, err, row.err)
			}
		case err != nil || !slices.Equal(got, row.want):
			t.Errorf("%q %q: %v, %v", row.env, row.annotation, got, err)
		}
	}
}

// FuzzNNModels: what is accepted can be looked for in a container.
func FuzzNNModels(f *testing.F) {
	f.Add("default:GGML:AUTO:/models/llama.gguf")
	f.Add("a:onnx:cpu:m,b:ggml:gpu:../../m c:ggml:gpu:./")
	f.Fuzz(func(t *testing.T, value string) {
		list, err := NNModels([]string{EnvNNPreload + "=" + value}, "/srv", nil)
		if err != nil && list != nil {
			t.Errorf("%v beside %v", list, err)
		}
		for _, m := range list {
			if m.Name == "" || !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || m.Path == "/" || hasNUL(m.Path+m.Name) || m.Encoding != 6 && m.Encoding != 1 {
				t.Errorf("%+v", m)
			}
		}
	})
}
