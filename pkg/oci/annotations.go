package oci

// Annotations of config.json that say what a container's entrypoint is.
const (
	// AnnotationHandler asks for a handler, as crun and its users know it: one
	// of the Handler constants.
	AnnotationHandler = "run.oci.handler"
	// AnnotationVariant is the image annotation of the "compat" Wasm image
	// format: VariantCompat or VariantCompatSmart.
	AnnotationVariant = "module.wasm.image/variant"
	// AnnotationEngine chooses the engine of a Wasm container: EngineAuto,
	// EngineWasmtime or EngineWazero. It does not make a container Wasm.
	AnnotationEngine = "run.runw.engine"
	// AnnotationPreopens narrows the directories that a Wasm guest can reach;
	// see Preopens.
	AnnotationPreopens = "run.runw.preopens"
)

// Annotations by which CRI implementations mark the pod sandbox (pause) container.
const (
	AnnotationContainerdType = "io.kubernetes.cri.container-type"
	AnnotationCRIOType       = "io.kubernetes.cri-o.ContainerType"
	// ContainerTypeSandbox is the value of both for a pod sandbox.
	ContainerTypeSandbox = "sandbox"
)

// Values of AnnotationHandler. HandlerWasmSmart decides by the entrypoint's magic
// bytes; the others insist on a Wasm module. HandlerWasmtime and HandlerWazero ask
// for that engine, the others for none.
const (
	HandlerWasm      = "wasm"
	HandlerWasmSmart = "wasm-smart"
	HandlerWasmEdge  = "wasmedge"
	HandlerWasmtime  = "wasmtime"
	HandlerWazero    = "wazero"
)

// Values of AnnotationVariant.
const (
	VariantCompat      = "compat"
	VariantCompatSmart = "compat-smart"
)

// Values of AnnotationEngine; the last two are also the values of Workload.Engine.
const (
	EngineAuto     = "auto"
	EngineWasmtime = "wasmtime"
	EngineWazero   = "wazero"
)

// PreopensNone is the value of AnnotationPreopens that gives the guest no
// directory at all.
const PreopensNone = "none"
