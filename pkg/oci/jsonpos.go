package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// locate turns an error of encoding/json into one that says where: the JSON path
// and line for a value of the wrong type, line:column for broken syntax.
func locate(data []byte, err error) error {
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		line, _ := position(data, typ.Offset)
		field := fieldAt(data, typ.Offset)
		if field == "" {
			field = typ.Field
		}
		got := typ.Value
		if got == "bool" { // the decoder's one word that is not JSON's
			got = "boolean"
		}
		fault := fmt.Errorf("expected %s, got %s (line %d)", jsonType(typ.Type), got, line)
		if field == "" {
			return fault
		}
		return &FieldError{field, fault}
	}
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		line, col := position(data, syn.Offset)
		return fmt.Errorf("%d:%d: %w", line, col, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if len(bytes.TrimSpace(data)) == 0 {
			return errors.New("empty file")
		}
		line, col := position(data, int64(len(data)))
		return fmt.Errorf("%d:%d: %w", line, col, err)
	}
	return err
}

// position converts an offset of encoding/json (bytes read, the faulty one
// included) into line and column, both counted from 1.
func position(data []byte, offset int64) (line, col int) {
	end := int(min(max(offset, 1), int64(len(data))))
	before := data[:max(end-1, 0)]
	return 1 + bytes.Count(before, []byte{'\n'}), len(before) - bytes.LastIndexByte(before, '\n')
}

// frame is one open object or array on the way to a value.
type frame struct {
	array bool
	index int
	key   string
	isKey bool // object: the next token is a key
}

// fieldAt returns the JSON path of the value that ends at or holds offset, with
// the indices of array elements, which UnmarshalTypeError.Field does not have.
func fieldAt(data []byte, offset int64) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var stack []frame
	for {
		tok, err := dec.Token()
		if err != nil {
			return ""
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			next(stack)
			continue
		}
		if n := len(stack); n > 0 && stack[n-1].isKey {
			stack[n-1].key, stack[n-1].isKey = tok.(string), false
			continue
		}
		// The offset of a type error is the end of a scalar, or the opening
		// bracket of an object or array.
		if dec.InputOffset() >= offset {
			return joinField(stack)
		}
		if d, ok := tok.(json.Delim); ok {
			stack = append(stack, frame{array: d == '[', isKey: d == '{'})
			continue
		}
		next(stack)
	}
}

// next notes that a value of the innermost object or array is complete.
func next(stack []frame) {
	if len(stack) == 0 {
		return
	}
	f := &stack[len(stack)-1]
	f.index++
	f.isKey = !f.array
}

func joinField(stack []frame) string {
	var b strings.Builder
	for _, f := range stack {
		switch {
		case f.array:
			b.WriteString("[" + strconv.Itoa(f.index) + "]")
		case strings.ContainsAny(f.key, "./[] "): // keys of maps, such as annotations
			b.WriteString("[" + strconv.Quote(f.key) + "]")
		case b.Len() > 0:
			b.WriteString("." + f.key)
		default:
			b.WriteString(f.key)
		}
	}
	return b.String()
}

// jsonType names a Go type in the words of JSON.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "non-negative integer of " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "integer of " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.String {
			return "array of strings"
		}
		return "array"
	}
	return "object"
}
