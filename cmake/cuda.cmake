# Whether the GPU backend is built, with which compiler, and for which cards.
#
# REDLINE_CUDA=AUTO builds it where a CUDA compiler is found and says in one line what came of it; ON stops without one;
# OFF does not look.  Sets REDLINE_CUDA_VERSION, as CUDA counts (13000 for 13.0; 0: without), and REDLINE_CUDA_TEXT,
# what `redline --version` says.
include_guard(GLOBAL)
include(CheckLanguage)

set(REDLINE_CUDA AUTO CACHE STRING "the CUDA backend: AUTO (where there is a compiler for it), ON, OFF")
set_property(CACHE REDLINE_CUDA PROPERTY STRINGS AUTO ON OFF)

# The first that knows sm_90a.
set(cuda_oldest 12.0)
# Device code, and PTX for what comes later: each compiled on its own, so each costs its time.
set(cuda_codes arch=compute_80,code=sm_80 arch=compute_90a,code=sm_90a arch=compute_90,code=compute_90)
set(cuda_codes_text "device code for 8.0 and 9.0a, PTX for 9.0 and newer")

# out: the path of nvcc, or empty.  First what tools/setup --cuda has put into the build folder, where there was no other.
function(redline_find_nvcc out)
  set(own ${PROJECT_BINARY_DIR}/toolkit/nvidia/cu13/bin/nvcc)
  if(CMAKE_CUDA_COMPILER)
    set(nvcc ${CMAKE_CUDA_COMPILER})
  elseif(EXISTS ${own})
    set(nvcc ${own})
  elseif(NOT "$ENV{CUDACXX}" STREQUAL "")
    set(nvcc $ENV{CUDACXX})
  else()
    find_program(nvcc nvcc NO_CACHE PATHS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  endif()
  set(${out} "${nvcc}" PARENT_SCOPE)
endfunction()

# out: the version of nvcc, or empty; why: the reason why it cannot be used, or empty.
function(redline_check_nvcc nvcc out why)
  set(${out} "" PARENT_SCOPE)
  if(NOT nvcc)
    set(${why} "no CUDA compiler (nvcc) was found" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
  if(NOT status EQUAL 0 OR NOT text MATCHES "release ([0-9]+\\.[0-9]+)")
    set(${why} "${nvcc} does not tell its version" PARENT_SCOPE)
    return()
  endif()
  set(version ${CMAKE_MATCH_1})
  if(version VERSION_LESS cuda_oldest)
    set(${why} "${nvcc} is CUDA ${version}, and ${cuda_oldest} or newer is needed" PARENT_SCOPE)
    return()
  endif()
  set(CMAKE_CUDA_COMPILER ${nvcc})
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(${why} "${nvcc} compiles nothing with this C++ compiler" PARENT_SCOPE)
    return()
  endif()
  set(${out} ${version} PARENT_SCOPE)
  set(${why} "" PARENT_SCOPE)
endfunction()

set(REDLINE_CUDA_VERSION 0)
set(REDLINE_CUDA_TEXT "built without CUDA")
set(CMAKE_CUDA_ARCHITECTURES OFF) # ours are named one by one
if(REDLINE_CUDA)
  redline_find_nvcc(nvcc)
  redline_check_nvcc("${nvcc}" cuda_version cuda_why)
  if(cuda_version)
    set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "CUDA compiler")
    string(REGEX MATCH "^([0-9]+)\\.([0-9]+)$" matched ${cuda_version})
    math(EXPR REDLINE_CUDA_VERSION "${CMAKE_MATCH_1} * 1000 + ${CMAKE_MATCH_2} * 10")
    set(REDLINE_CUDA_TEXT "built with CUDA ${cuda_version}: ${cuda_codes_text}")
    set(cuda_line "redline: with CUDA ${cuda_version} (${nvcc}): ${cuda_codes_text}")
  elseif(REDLINE_CUDA STREQUAL "AUTO")
    set(cuda_line "redline: without CUDA, for the CPU alone: ${cuda_why}")
  else()
    message(FATAL_ERROR "REDLINE_CUDA is ${REDLINE_CUDA}, and ${cuda_why}; tools/setup --cuda fetches one")
  endif()
  if(NOT "${cuda_line}" STREQUAL "${REDLINE_CUDA_SAID}") # once, not at every build
    message(NOTICE "${cuda_line}")
    set(REDLINE_CUDA_SAID "${cuda_line}" CACHE INTERNAL "")
  endif()
endif()

if(REDLINE_CUDA_VERSION)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None) # named below
  set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O2 -g")
  # An eighth of the bytes, of which every test program has a copy.  Not before 13.0, whose drivers are all 580 and
  # newer: those of 12.x before 550 cannot load what is compressed so.
  if(NOT cuda_version VERSION_LESS 13.0)
    string(APPEND CMAKE_CUDA_FLAGS_RELWITHDEBINFO " --compress-mode=size")
  endif()
  enable_language(CXX)
  enable_language(CUDA)
  get_filename_component(cuda_folder ${nvcc} REALPATH)
  get_filename_component(cuda_folder ${cuda_folder} DIRECTORY)
  find_library(CUDART_STATIC libcudart_static.a REQUIRED HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} ${cuda_folder}/..
               PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
endif()

# redline_cuda_library(name, sources...): with the flags of this tree.
function(redline_cuda_library name)
  add_library(${name} STATIC ${ARGN})
  foreach(code ${cuda_codes})
    target_compile_options(${name} PRIVATE "SHELL:-gencode ${code}")
  endforeach()
  target_compile_options(${name} PRIVATE $<$<BOOL:${REDLINE_WERROR}>:-Werror=all-warnings>)
  target_link_libraries(${name} PUBLIC ${CUDART_STATIC} ${CMAKE_DL_LIBS} rt Threads::Threads)
endfunction()
