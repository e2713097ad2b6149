package ggml

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits for a schema: a grammar's size is a cost per token.
const (
	maxSchemaDepth = 32
	maxSchemaRules = 2000
)

// schemaRules are the rules that a schema's own refer to, in GBNF.
const schemaRules = `ws ::= | " " | "\n" [ \t]{0,20}
boolean ::= "true" | "false"
null ::= "null"
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?
char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
string ::= "\"" char* "\""
value ::= object | array | string | number | boolean | null
object ::= "{" ws (string ws ":" ws value ws ("," ws string ws ":" ws value ws)*)? "}"
array ::= "[" ws (value ws ("," ws value ws)*)? "]"
`

// schemaGrammar is the key json-schema: the schema, as a string, becomes a
// grammar. Known are type, properties, required, items, minItems, maxItems, enum,
// const, anyOf, oneOf, minLength and maxLength; what else narrows a value
// ($ref, pattern, allOf, not) is refused, since ignoring it would let through
// what the schema forbids.
func schemaGrammar(o *options, value any) error {
	text, ok := value.(string)
	if !ok {
		return errWrongType
	}
	if text == "" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var schema any
	if err := decoder.Decode(&schema); err != nil {
		return err
	}
	var s schemaWriter
	root, err := s.expression(schema, 0)
	if err != nil {
		return err
	}
	o.sampler.grammar = "root ::= " + root + "\n" + s.rules.String() + schemaRules
	return nil
}

// schemaWriter collects the rules of a schema.
type schemaWriter struct {
	rules strings.Builder
	count int
}

// rule gives an expression a name.
func (s *schemaWriter) rule(expression string) (string, error) {
	if s.count++; s.count > maxSchemaRules {
		return "", errors.New("the schema is too large")
	}
	name := "r" + strconv.Itoa(s.count)
	s.rules.WriteString(name + " ::= " + expression + "\n")
	return name, nil
}

// literal is text that has to stand there as it is.
func literal(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

func constant(value any) (string, error) {
	text, err := json.Marshal(value)
	return literal(string(text)), err
}

var unknownNarrowing = []string{"$ref", "pattern", "allOf", "not", "if", "patternProperties", "prefixItems", "minimum", "maximum",
	"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format", "uniqueItems", "contains", "propertyNames", "minProperties", "maxProperties"}

func (s *schemaWriter) expression(schema any, depth int) (string, error) {
	if depth > maxSchemaDepth {
		return "", errors.New("the schema is too deep")
	}
	if all, ok := schema.(bool); ok && all {
		return "value", nil
	}
	m, ok := schema.(map[string]any)
	if !ok {
		return "", errors.New("a schema is an object")
	}
	for _, key := range unknownNarrowing {
		if _, found := m[key]; found {
			return "", fmt.Errorf("schema keyword %q is not supported", key)
		}
	}
	if value, found := m["const"]; found {
		return constant(value)
	}
	for _, key := range []string{"enum", "anyOf", "oneOf"} {
		if list, ok := m[key].([]any); ok {
			return s.either(key, list, depth)
		}
	}
	if kinds, ok := m["type"].([]any); ok {
		var list []any
		for _, kind := range kinds {
			one := maps.Clone(m)
			one["type"] = kind
			list = append(list, one)
		}
		return s.either("anyOf", list, depth)
	}
	switch kind := m["type"]; kind {
	case nil:
		if m["properties"] != nil {
			return s.object(m, depth)
		}
		return "value", nil
	case "object":
		return s.object(m, depth)
	case "array":
		return s.array(m, depth)
	case "string":
		return s.text(m)
	case "number", "integer", "boolean", "null":
		return kind.(string), nil
	default:
		return "", fmt.Errorf("schema type %v", kind)
	}
}

// either is one out of a list of values or schemas.
func (s *schemaWriter) either(key string, list []any, depth int) (string, error) {
	var alternatives []string
	for _, item := range list {
		var text string
		var err error
		if key == "enum" {
			text, err = constant(item)
		} else {
			text, err = s.expression(item, depth+1)
		}
		if err != nil {
			return "", err
		}
		alternatives = append(alternatives, text)
	}
	if len(alternatives) == 0 {
		return "", fmt.Errorf("schema keyword %q with nothing to choose from", key)
	}
	return s.rule(strings.Join(alternatives, " | "))
}

// object has the properties in the order of their names, since the schema's own
// order is lost; those that are not required may be missing. Others than the
// named ones are allowed in no object that names some.
func (s *schemaWriter) object(m map[string]any, depth int) (string, error) {
	properties, _ := m["properties"].(map[string]any)
	if len(properties) == 0 {
		if extra, ok := m["additionalProperties"].(bool); ok && !extra {
			return s.rule(`"{" ws "}"`)
		}
		return "object", nil
	}
	required, _ := m["required"].([]any)
	// first holds what may follow "{", rest what may follow a property: from the
	// last name to the first, so that a comma stands between two and nowhere else.
	first, rest := `ws "}"`, `ws "}"`
	names := slices.Sorted(maps.Keys(properties))
	for _, name := range slices.Backward(names) {
		value, err := s.expression(properties[name], depth+1)
		if err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		key, err := constant(name)
		if err != nil {
			return "", err
		}
		after, err := s.rule(rest)
		if err != nil {
			return "", err
		}
		pair := key + ` ws ":" ws ` + value + " " + after
		if slices.Contains(required, any(name)) {
			first, rest = "ws "+pair, `ws "," ws `+pair
		} else {
			first, rest = "ws "+pair+" | "+first, `ws "," ws `+pair+" | "+after
		}
	}
	return s.rule(`"{" (` + first + ")")
}

func (s *schemaWriter) array(m map[string]any, depth int) (string, error) {
	item := "value"
	if schema, found := m["items"]; found {
		var err error
		if item, err = s.expression(schema, depth+1); err != nil {
			return "", err
		}
	}
	least, most, err := bounds(m, "minItems", "maxItems")
	if err != nil {
		return "", err
	}
	switch {
	case most == 0:
		return s.rule(`"[" ws "]"`)
	case least > 0:
		return s.rule(fmt.Sprintf(`"[" ws %s (ws "," ws %s)%s ws "]"`, item, item, repeat(least-1, most-1)))
	}
	return s.rule(fmt.Sprintf(`"[" ws (%s (ws "," ws %s)%s ws)? "]"`, item, item, repeat(0, most-1)))
}

func (s *schemaWriter) text(m map[string]any) (string, error) {
	least, most, err := bounds(m, "minLength", "maxLength")
	if err != nil || least == 0 && most < 0 {
		return "string", err
	}
	return s.rule(`"\"" char` + repeat(least, most) + ` "\""`)
}

// repeat is the grammar's count; a most below 0 is no limit.
func repeat(least, most int64) string {
	if most < 0 {
		return fmt.Sprintf("{%d,}", least)
	}
	return fmt.Sprintf("{%d,%d}", least, most)
}

// bounds reads two numbers, of which the second is -1 if it is not there.
func bounds(m map[string]any, least, most string) (low, high int64, err error) {
	high = -1
	for key, to := range map[string]*int64{least: &low, most: &high} {
		number, ok := m[key].(json.Number)
		if !ok {
			continue
		}
		if *to, err = number.Int64(); err != nil || *to < 0 || *to > 1000 {
			return 0, 0, fmt.Errorf("schema keyword %q: %s is not in 0 to 1000", key, number)
		}
	}
	if high >= 0 && high < low {
		return 0, 0, fmt.Errorf("schema: %s is less than %s", most, least)
	}
	return low, high, nil
}
