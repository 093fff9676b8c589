# How every target of the project is compiled. jailrun_library(NAME SOURCES… LINKS…) makes one folder's target.

set(JAILRUN_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wcast-align
    -Wformat=2 -Wimplicit-fallthrough -Wundef -Wvla
    # g++ 12 warns of every "literal" + std::string + … (GCC bug 105651).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    # stable_sort of libstdc++ 12 uses what its own headers call deprecated.
    $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
set(JAILRUN_HARDENING -fstack-protector-strong -fno-plt $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)

function(jailrun_compile target)
  target_compile_options(${target} PRIVATE ${JAILRUN_WARNINGS} ${JAILRUN_HARDENING}
                         $<$<BOOL:${JAILRUN_WERROR}>:-Werror>)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

function(jailrun_sanitize target)
  if(JAILRUN_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${JAILRUN_SANITIZE} -fno-omit-frame-pointer
                           -fno-sanitize-recover=all)
    # For this target alone: an UNSANITIZED program may link a sanitized library for its headers.
    target_link_options(${target} PRIVATE -fsanitize=${JAILRUN_SANITIZE})
  endif()
endfunction()

function(jailrun_library target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${target} STATIC ${ARG_SOURCES})
  jailrun_compile(${target})
  jailrun_sanitize(${target})
  target_link_libraries(${target} PUBLIC ${ARG_LINKS})
endfunction()

# UNSANITIZED: for what is linked statically in every preset; sanitizers have no static runtime.
function(jailrun_executable target)
  cmake_parse_arguments(ARG "UNSANITIZED" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  jailrun_compile(${target})
  if(NOT ARG_UNSANITIZED)
    jailrun_sanitize(${target})
  endif()
  target_link_libraries(${target} PRIVATE ${ARG_LINKS})
endfunction()
