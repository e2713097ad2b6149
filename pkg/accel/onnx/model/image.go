package model

import (
	"encoding/binary"
	"math"
	"strconv"
)

// ImageInput is how many numbers Image takes: 3 planes of 224 by 224.
const ImageInput = 3 * 224 * 224

// Image sorts an image x [1,ImageInput] into a thousand classes y [1,1000], whose
// probabilities are 1 together. Its layers are those of MobileNet (Howard et al.,
// 2017, table 1), its weights pseudorandom (17 MB): what it computes is of no use,
// and costs what such a model in use costs.
func Image() []byte {
	b := imageBuilder{state: 1, value: "x"}
	b.add("Reshape", nil, b.weight(Int64, []int64{4}, int64s(1, 3, 224, 224)))
	b.convolution(3, 32, 3, 2, 1)
	from := int64(32)
	for _, layer := range []struct{ to, stride int64 }{
		{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1},
	} {
		b.convolution(from, from, 3, layer.stride, from)
		b.convolution(from, layer.to, 1, 1, 1)
		from = layer.to
	}
	b.add("GlobalAveragePool", nil)
	b.add("Flatten", nil)
	b.add("MatMul", nil, b.random([]int64{from, 1000}, from))
	b.add("Softmax", []Attribute{{Name: "axis", Int: 1}})
	b.Nodes[len(b.Nodes)-1].Outputs = []string{"y"}
	b.Inputs = []Value{{Name: "x", Type: Float, Dims: []int64{1, ImageInput}}}
	b.Outputs = []Value{{Name: "y", Type: Float, Dims: []int64{1, 1000}}}
	return b.Model()
}

// imageBuilder appends nodes, each of which takes what the one before gives.
type imageBuilder struct {
	Graph
	state uint32
	value string
}

func (b *imageBuilder) add(op string, attributes []Attribute, weights ...string) {
	to := "h" + strconv.Itoa(len(b.Nodes))
	b.Nodes = append(b.Nodes, Node{Op: op, Inputs: append([]string{b.value}, weights...), Outputs: []string{to}, Attributes: attributes})
	b.value = to
}

// convolution keeps the size of the planes, but for the stride.
func (b *imageBuilder) convolution(from, to, kernel, stride, groups int64) {
	w := b.random([]int64{to, from / groups, kernel, kernel}, from/groups*kernel*kernel)
	edge := kernel / 2
	b.add("Conv", []Attribute{
		{Name: "group", Int: groups}, {Name: "strides", Ints: []int64{stride, stride}}, {Name: "pads", Ints: []int64{edge, edge, edge, edge}},
	}, w)
	b.add("Relu", nil)
}

func (b *imageBuilder) weight(t Type, dims []int64, data []byte) string {
	name := "w" + strconv.Itoa(len(b.Weights))
	b.Weights = append(b.Weights, Weight{Name: name, Type: t, Dims: dims, Data: data})
	return name
}

// random is a weight of numbers whose variance is 2/inputs, so that the layers
// neither let values vanish nor grow.
func (b *imageBuilder) random(dims []int64, inputs int64) string {
	count := int64(1)
	for _, d := range dims {
		count *= d
	}
	most := float32(math.Sqrt(6 / float64(inputs)))
	return b.weight(Float, dims, pseudorandom(&b.state, int(count), most))
}

func int64s(values ...int64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}
