# frozen_string_literal: true

require "fileutils"
require "json"
require "time"

module Changeover
  # The last known answers, kept on disk so that a start without the server has them. Contexts are kept by their digest,
  # for they may name people. The file is replaced as a whole; one that cannot be read counts as empty.
  class StateFile
    FORMAT = 1
    SECONDS_MAX = 30 * 86_400

    def initialize(path, url)
      @path = path
      @url = url
    end

    # Contexts and stages, by digest and flag, as they were written.
    def read
      document = JSON.parse(File.read(@path, encoding: Encoding::UTF_8))
      return [{}, {}] unless document.is_a?(Hash) && document["format"] == FORMAT && document["url"] == @url

      %w[contexts stages].map { |part| document[part].is_a?(Hash) ? document[part].select { |_, entry| recent?(entry) } : {} }
    rescue SystemCallError, JSON::ParserError, ArgumentError
      [{}, {}]
    end

    def write(contexts, stages)
      FileUtils.mkdir_p(File.dirname(@path))
      temporary = "#{@path}.#{Process.pid}.#{Thread.current.object_id}"
      File.open(temporary, File::WRONLY | File::CREAT | File::EXCL, 0o600) do |file|
        file.write(JSON.generate("format" => FORMAT, "url" => @url, "saved_at" => Time.now.utc.iso8601(6), "contexts" => contexts, "stages" => stages))
        file.fsync
      end
      File.rename(temporary, @path)
      true
    rescue SystemCallError, JSON::GeneratorError
      FileUtils.rm_f(temporary) if temporary
      false
    end

    private

    def recent?(entry)
      entry.is_a?(Hash) && Time.now - Time.iso8601(entry["at"]) < SECONDS_MAX
    rescue ArgumentError, TypeError
      false
    end
  end
end
