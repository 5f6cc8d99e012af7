# For Makefiles to include: the linker's flags by which calls can be made to fail, see fault.h.
#
#   $(call fault_flags,FILES)  for the wrappers that FILES have: WRAP(class, type, name, ...) and WRAPPED(type, name, ...)

fault_comma := ,
fault_functions = $(shell sed -n 's/^WRAP.[a-z]*, [^,]*, \([A-Za-z_0-9]*\),.*/\1/p; s/^WRAPPED.[^,]*, \([A-Za-z_0-9]*\),.*/\1/p' $(1))
fault_flags = $(patsubst %,-Wl$(fault_comma)--wrap=%,$(call fault_functions,$(1)))
