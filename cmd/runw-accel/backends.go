package main

import (
	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/ggml"
	"github.com/runw/runw/pkg/accel/onnx"
	"github.com/runw/runw/pkg/accel/wire"
)

// backend is one of the libraries that there is code for.
type backend struct {
	name     string
	encoding accel.Encoding
	open     func(accel.Options) (accel.Backend, error)
}

// backends is the whole list.
var backends = []backend{
	{name: "ggml", encoding: accel.EncodingGGML, open: ggml.Open},
	{name: "onnx", encoding: accel.EncodingONNX, open: onnx.Open},
}

// serving is the list for a worker.
func (o *options) serving() []wire.Backend {
	list := make([]wire.Backend, 0, len(backends))
	for _, b := range backends {
		list = append(list, wire.Backend{Encoding: b.encoding, Open: func(log func(string)) (accel.Backend, error) {
			with := o.backend
			with.Log = log
			return b.open(with)
		}})
	}
	return list
}
