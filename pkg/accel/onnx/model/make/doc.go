// Command make writes the ONNX models of package model to a directory.
//
//	go run ./pkg/accel/onnx/model/make DIRECTORY
package main
