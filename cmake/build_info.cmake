# Writes OUT, a C file that holds the revision of the sources in SOURCE, if it says something new.
#   cmake -DSOURCE=... -DOUT=... -P build_info.cmake
function(ask out default)
  execute_process(COMMAND git -C ${SOURCE} ${ARGN} OUTPUT_VARIABLE answer ERROR_QUIET
                  OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    set(answer "${default}")
  endif()
  set(${out} "${answer}" PARENT_SCOPE)
endfunction()

ask(commit "unknown" rev-parse --short=9 HEAD)
ask(number "0" rev-list --count HEAD)
ask(changes "" status --porcelain --untracked-files=no)
if(changes)
  string(APPEND commit "+")
endif()
set(text "#include \"build_info.h\"\n\nconst char build_commit[] = \"${commit}\";\nconst int build_number = ${number};\n")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT "${text}" STREQUAL "${before}")
  file(WRITE ${OUT} "${text}")
endif()
