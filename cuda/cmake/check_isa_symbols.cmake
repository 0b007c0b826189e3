# Stops the build if an object file defines a symbol that another instruction set's object could define too: the
# linker would keep one of them, and a machine without AVX-512 could run AVX-512 code, or the other way round.
# A symbol is safe that names its instruction set's namespace or a vector type, whose width is the set's own; so is
# clang's __clang_call_terminate, which does nothing but end the process.
#   cmake -DNM=<nm> -DISA=<name> -DOBJECTS=<a.o,b.o> -P check_isa_symbols.cmake
string(REPLACE "," ";" objects "${OBJECTS}")
foreach(object IN LISTS objects)
  execute_process(COMMAND "${NM}" -g -C --defined-only "${object}"
                  OUTPUT_VARIABLE symbols RESULT_VARIABLE status ERROR_VARIABLE error)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${NM} cannot list ${object}: ${error}")
  endif()
  string(REPLACE ";" "," symbols "${symbols}")
  string(REGEX MATCHALL "[^\n]+" lines "${symbols}")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^[0-9a-fA-F]* *[A-Za-z] " "" symbol "${line}")
    if(NOT symbol MATCHES "neural::${ISA}::|__vector\\(|^DW\\.ref\\.|^__clang_call_terminate$")
      message(FATAL_ERROR "${object} defines '${symbol}', which is the same in every instruction set: put it into "
                          "namespace neural::NEURAL_ISA, make it NEURAL_HD, or leave std containers out")
    endif()
  endforeach()
endforeach()
