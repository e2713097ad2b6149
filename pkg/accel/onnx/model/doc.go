// Package model makes ONNX models whose results are known beforehand, so that
// tests and benchmarks need no download. The same call gives the same bytes.
//
//	Graph{Nodes, Inputs, Outputs, Weights} ──▶ Model() ──▶ bytes of a ModelProto
//	        ▲
//	Classifier(), Identity(), Cast(), Scalar(), Dense(), Endless(), Image(): those
//	of Files, which the command below, make, writes to a directory
//
// Where does my code go? A model that tests elsewhere need, and the numbers that
// it gives: models.go, and image.go for the one of many layers. How a field is
// written: proto.go. A model that only one test of the backend needs is made
// there, from Graph. What the backend reads of a model is its own: it must not
// believe this package.
package model
