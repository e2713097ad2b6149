#define ENGINE_COMMAND "engine"
